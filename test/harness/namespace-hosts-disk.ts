// Owns the disk of a namespace host: a file system image of its own, which can lose everything that
// was written but not flushed, as a machine does when its power fails.
import { execFile } from 'node:child_process'
import { mkdir, open, rm } from 'node:fs/promises'
import { promisify } from 'node:util'
import { until } from './until.ts'

export interface Disk {
  mount(): Promise<void>
  unmount(): Promise<void>
  /** From now on nothing reaches the disk, and nothing that waited to be written ever will. */
  losePower(): Promise<void>
  remove(): Promise<void>
}

const SIZE_BYTES = 4 * 1024 ** 3
const COMMAND_TIMEOUT_MS = 60_000
const UNMOUNT_TIMEOUT_MS = 20_000

/** EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH; Node has no ioctl. */
const SHUTDOWN = `import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))`

const execute = promisify(execFile)

async function run(program: string, ...args: string[]): Promise<void> {
  await execute(program, args, { timeout: COMMAND_TIMEOUT_MS })
}

export async function makeDisk(image: string, directory: string): Promise<Disk> {
  const file = await open(image, 'wx', 0o600)
  await file.truncate(SIZE_BYTES)
  await file.close()
  await run('mkfs.ext4', '-q', '-E', 'lazy_itable_init=1,lazy_journal_init=1,nodiscard', image)
  await mkdir(directory, { recursive: true, mode: 0o755 })
  const disk: Disk = {
    mount: () => run('mount', '-o', 'loop', image, directory),
    // Processes that were just killed hold it for a moment.
    unmount: () =>
      until(`${directory} to be unmounted`, UNMOUNT_TIMEOUT_MS, async () => {
        await run('umount', directory)
        return { value: undefined }
      }),
    losePower: () => run('/usr/bin/python3', '-c', SHUTDOWN, directory),
    async remove() {
      await disk.unmount()
      await rm(image)
    },
  }
  await disk.mount()
  return disk
}

/**
 * What is mounted below, or unmounted, is so in every namespace that follows. Returns what ends it.
 */
export async function shareMounts(directory: string): Promise<() => Promise<void>> {
  await run('mount', '--bind', directory, directory)
  await run('mount', '--make-shared', directory)
  return () => run('umount', directory)
}
