// Owns asking before something is destroyed: the name is typed on a terminal, or given with a flag.
import { HowdahError } from '@howdah/core/errors.ts'
import type { Context } from './context.ts'
import { safeLine } from './safe-text.ts'

export interface ConfirmFlags {
  yes?: boolean
  confirm?: string
}

/** Throws `confirmation-missing` unless the person, `--yes` or `--confirm NAME` agrees. */
export async function confirmName(
  context: Context,
  flags: ConfirmFlags,
  question: { name: string; consequence: string },
): Promise<void> {
  if (flags.confirm !== undefined) {
    if (flags.confirm === question.name) return
    throw missing(`--confirm says ${JSON.stringify(flags.confirm)}, not "${question.name}"`)
  }
  if (flags.yes === true) return
  if (!context.canAsk()) throw missing(`${question.consequence}; nobody can be asked here`)
  const typed = await ask(
    context,
    `${safeLine(question.consequence)}.\nType ${safeLine(question.name)} to go on: `,
  )
  if (typed !== question.name) throw missing('nothing was changed: the name did not match')
}

function missing(detail: string): HowdahError {
  const hint = 'give --confirm NAME, or --yes where nobody can be asked'
  return new HowdahError('confirmation-missing', detail, { extra: { hint } })
}

/** undefined when the person presses Ctrl-C or Ctrl-D. */
async function ask(context: Context, prompt: string): Promise<string | undefined> {
  const { createInterface } = await import('node:readline/promises')
  const { stdin, stderr } = context.streams
  const reader = createInterface({ input: stdin, output: stderr })
  const closed = new AbortController()
  reader.once('close', () => closed.abort())
  try {
    return (await reader.question(prompt, { signal: closed.signal })).trim()
  } catch {
    stderr.write('\n')
    return undefined
  } finally {
    reader.close()
  }
}
