// Owns finding a home's platform: its real path, its settings, and the layout that follows.
import { realpathSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { HowdahError } from '@howdah/core/errors.ts'
import { DEFAULT_SUBNET, type PlatformConfig } from './config.ts'
import { type PlatformLayout, platformLayout } from './layout.ts'
import { readSettings, type Settings } from './settings.ts'

export const DEFAULT_HOST_COUNT = 4

export interface OpenedHome {
  layout: PlatformLayout
  /** Undefined before the first start. */
  settings: Settings | undefined
}

/** Changes nothing. A platform never shrinks: fewer hosts than it has are ignored. */
export async function openHome(
  home: string,
  config: PlatformConfig,
  wantedHosts?: number,
): Promise<OpenedHome> {
  const real = realPath(home)
  const first = platformLayout(real, config.subnet ?? DEFAULT_SUBNET, wantedHosts ?? 1)
  const settings = await readSettings(first.settingsFile)
  if (settings === undefined) {
    const subnet = config.subnet ?? DEFAULT_SUBNET
    return { settings, layout: platformLayout(real, subnet, wantedHosts ?? DEFAULT_HOST_COUNT) }
  }
  if (config.subnet !== undefined && config.subnet !== settings.subnet) {
    const asked = `HOWDAH_SUBNET says ${config.subnet}`
    const said = `${real} holds a platform on ${settings.subnet}, ${asked}`
    throw new HowdahError('preflight-failed', said, {
      extra: { hint: 'unset HOWDAH_SUBNET, or choose another HOWDAH_HOME' },
    })
  }
  const hosts = Math.max(settings.hosts, wantedHosts ?? 0)
  return { settings, layout: platformLayout(real, settings.subnet, hosts) }
}

// Processes are told by their working directory, which the kernel shows without links.
function realPath(path: string): string {
  try {
    return realpathSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return join(realPath(dirname(path)), basename(path))
  }
}
