// Owns when the disk of a host counts as nearly full, and what is said of it: in the readiness of
// its clusters for as long as it is so, and once as an event.
import type { HostFacts } from './protocol.ts'

const LOW_SHARE = 0.1
/** A large disk with more than this is not low, whatever its share. */
const LOW_BYTES = 20 * 1024 ** 3
/** Of the limits: said to be well again only above, so that nobody is told each minute. */
const WELL_AGAIN = 1.2

type Disk = Pick<HostFacts, 'diskBytes' | 'diskFreeBytes'>

function isBelow({ diskBytes, diskFreeBytes }: Disk, factor: number): boolean {
  return diskFreeBytes < Math.min(diskBytes * LOW_SHARE, LOW_BYTES) * factor
}

export const isDiskLow = (disk: Disk) => isBelow(disk, 1)

export function sayFree({ diskBytes, diskFreeBytes }: Disk): string {
  const share = Math.floor((diskFreeBytes / Math.max(diskBytes, 1)) * 100)
  return `${share} % of its disk is free (${Math.floor(diskFreeBytes / 1024 ** 2)} MB)`
}

export const DISK_NEWS = ['host.disk-low', 'host.disk-well'] as const

export interface DiskNews {
  kind: (typeof DISK_NEWS)[number]
  message: string
}

/** Whether there may be something to tell: most reports of most disks are not near the limits. */
export const isNearLow = (disk: Disk) => isBelow(disk, WELL_AGAIN)

/** What is new, given whether it was told last that the disk is low. */
export function diskNews(toldLow: boolean, now: Disk): DiskNews | undefined {
  if (!toldLow && isDiskLow(now)) {
    const message = `${sayFree(now)}: when it is full, writes fail; free space, or give it more`
    return { kind: 'host.disk-low', message }
  }
  if (toldLow && !isNearLow(now)) return { kind: 'host.disk-well', message: sayFree(now) }
  return undefined
}
