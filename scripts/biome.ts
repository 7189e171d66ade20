// Runs biome's program for this machine. We depend on the platform packages themselves: the wrapper
// package lists a dozen others, and a registry that lacks one of them would make `npm ci` refuse.
import { spawnSync } from 'node:child_process'

const program = new URL(`../node_modules/@biomejs/cli-linux-${process.arch}/biome`, import.meta.url)
const { status } = spawnSync(program.pathname, process.argv.slice(2), { stdio: 'inherit' })
process.exitCode = status ?? 1
