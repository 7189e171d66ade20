// Owns platform/settings.json: what the first start decided and every later one must keep.
import { HowdahError } from '@howdah/core/errors.ts'
import { readOptional, writeDurable } from './durable-file.ts'
import { HOSTS_MAX } from './layout.ts'

export interface Settings {
  /** Certificates, etcd members and instances hold these addresses: it cannot change. */
  subnet: string
  hosts: number
  /** Of the cluster that the first start creates. */
  demo: 'wanted' | 'created' | 'declined'
}

/** Undefined before the first start. Throws `preflight-failed` if the file cannot be understood. */
export async function readSettings(path: string): Promise<Settings | undefined> {
  const text = await readOptional(path)
  if (text === undefined) return undefined
  const settings = parseSettings(text)
  if (settings !== undefined) return settings
  const said = `${path} is damaged: restore it, or choose another HOWDAH_HOME`
  throw new HowdahError('preflight-failed', said)
}

export async function writeSettings(path: string, settings: Settings): Promise<void> {
  await writeDurable(path, `${JSON.stringify(settings, null, 2)}\n`, 0o644)
}

function parseSettings(text: string): Settings | undefined {
  let value: Partial<Record<keyof Settings, unknown>>
  try {
    value = JSON.parse(text) ?? {}
  } catch {
    return undefined
  }
  const { subnet, hosts, demo } = value
  if (typeof subnet !== 'string' || !/^127\.[0-9]{1,3}\.[0-9]{1,3}$/.test(subnet)) return undefined
  if (typeof hosts !== 'number' || !Number.isInteger(hosts)) return undefined
  if (hosts < 1 || hosts > HOSTS_MAX) return undefined
  if (demo !== 'wanted' && demo !== 'created' && demo !== 'declined') return undefined
  return { subnet, hosts, demo }
}
