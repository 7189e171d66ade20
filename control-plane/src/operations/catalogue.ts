// Owns the list of all operations; main.ts hands it to the engine, which knows none by name.
import { changeRepository } from './change-repository.ts'
import { createBackup } from './create-backup.ts'
import { createCluster } from './create-cluster.ts'
import { createDatabase } from './create-database.ts'
import { createDcs } from './create-dcs.ts'
import { createRole } from './create-role.ts'
import { deleteBackup } from './delete-backup.ts'
import { deleteCluster } from './delete-cluster.ts'
import { deleteDatabase } from './delete-database.ts'
import { deleteRole } from './delete-role.ts'
import type { Operations } from './engine.ts'
import { failover } from './failover.ts'
import { forkCluster } from './fork-cluster.ts'
import { gameDay } from './game-day.ts'
import type { OperationDefinition } from './operation.ts'
import { restartCluster } from './restart-cluster.ts'
import { restoreCluster } from './restore-cluster.ts'
import { restoreDrill } from './restore-drill.ts'
import { rotatePassword } from './rotate-password.ts'
import { scaleCluster } from './scale-cluster.ts'
import { switchover } from './switchover.ts'
import { undeleteCluster } from './undelete-cluster.ts'
import { undoRestore } from './undo-restore.ts'
import { updateCluster } from './update-cluster.ts'

const ALL: readonly OperationDefinition<never>[] = [
  createDcs,
  createCluster,
  updateCluster,
  deleteCluster,
  undeleteCluster,
  createDatabase,
  deleteDatabase,
  createRole,
  deleteRole,
  rotatePassword,
  switchover,
  failover,
  restartCluster,
  scaleCluster,
  gameDay,
  createBackup,
  deleteBackup,
  changeRepository,
  forkCluster,
  restoreCluster,
  undoRestore,
  restoreDrill,
]

export const operations: Operations = new Map(
  ALL.map((definition) => [definition.kind, definition]),
)
