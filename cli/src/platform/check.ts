// Owns what a check of this machine or platform says. Checks never throw for what they find: all of
// them run, and a person sees every problem at once.

export interface CheckResult {
  name: string
  state: 'ok' | 'warn' | 'fail'
  /** What was found. */
  found: string
  /** What to do; empty when ok. */
  fix: string
}

export function ok(name: string, found: string): CheckResult {
  return { name, state: 'ok', found, fix: '' }
}

export function warn(name: string, found: string, fix: string): CheckResult {
  return { name, state: 'warn', found, fix }
}

export function fail(name: string, found: string, fix: string): CheckResult {
  return { name, state: 'fail', found, fix }
}
