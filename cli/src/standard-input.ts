// Owns reading values from standard input, bounded in size.
import { readFile } from 'node:fs/promises'
import { HowdahError } from '@howdah/core/errors.ts'
import type { Context } from './context.ts'

const INPUT_BYTES_MAX = 1024 * 1024

export async function readStandardInput(context: Context): Promise<string> {
  const chunks: Buffer[] = []
  let sizeBytes = 0
  for await (const chunk of context.streams.stdin) {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : (chunk as Buffer)
    sizeBytes += bytes.length
    if (sizeBytes > INPUT_BYTES_MAX) {
      throw new HowdahError('body-too-large', 'standard input holds more than 1 MiB')
    }
    chunks.push(bytes)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** One line; the line end that `echo` adds is not part of the password. */
export async function readPassword(context: Context): Promise<string> {
  if (context.streams.stdin.isTTY === true) {
    throw new HowdahError('invalid-password', '--password-stdin needs a pipe or a file', {
      extra: { hint: 'leave it out, and a strong password is generated' },
    })
  }
  const password = (await readStandardInput(context)).replace(/\r?\n$/, '')
  if (password === '') throw new HowdahError('invalid-password', 'standard input is empty')
  return password
}

/** A request body: the text itself, `@file`, or `-` for standard input. */
export async function readBodyArgument(context: Context, text: string): Promise<unknown> {
  const json = await readBodyText(context, text)
  try {
    return JSON.parse(json)
  } catch {
    throw new HowdahError('bad-request', 'the body is not JSON', {
      extra: { hint: `give --body '{"name": "demo"}', --body @file.json or --body -` },
    })
  }
}

async function readBodyText(context: Context, text: string): Promise<string> {
  if (text === '-') return readStandardInput(context)
  if (!text.startsWith('@')) return text
  try {
    return await readFile(text.slice(1), 'utf8')
  } catch (error) {
    throw new HowdahError('bad-request', `cannot read ${text.slice(1)}`, {
      cause: error,
      extra: { hint: 'give the path of a JSON file after the @' },
    })
  }
}
