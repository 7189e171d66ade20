// Owns what the benches of failures need from whatever they measure: a cluster of three instances
// behind an endpoint. Ours and each peer are one; the benches know no more of them than this.
import type { HostLoss, LossKind } from './host-loss.ts'
import type { SqlAddress } from './sql.ts'

export interface StackInstance {
  name: string
  /** Directly, without any gateway. */
  direct: SqlAddress
  dataDirectory: string
}

export interface Stack extends AsyncDisposable {
  name: string
  /** What each of its rows says of it, e.g. a setting that runs differ in. */
  facts: Readonly<Record<string, string>>
  /** Where an application writes. */
  write: SqlAddress
  /** The way past the pooler, where there is one; what a new session meets first. */
  routed: SqlAddress
  instances(): Promise<StackInstance[]>
  /** Waits until the cluster is as whole as before the fault. Returns the leader's name. */
  waitWhole(): Promise<string>
  /** A replica that may lead next. */
  candidate(): Promise<string>
  /** Asks for it and returns when the answer says that it is over. */
  switchover(to: string): Promise<void>
  /** Restarts PostgreSQL of every instance, one after the other, and returns when it is over. */
  restartAll(): Promise<void>
  /** Everything that runs on the host of an instance is lost, until it is restored. */
  loseHost(instanceName: string, kind: LossKind): Promise<HostLoss>
  /** Processes that every transaction passes on its way: proxies and poolers. */
  gatewayPids(): number[]
  /** The configuration, without passwords, for the record. */
  configuration(): Record<string, string>
}
