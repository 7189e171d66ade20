// Owns schedules: five cron fields in a time zone. Where clocks jump forward a time that does not
// exist runs right after the jump; where they jump back, a time that comes twice runs once.
import { HowdahError } from './errors.ts'

const FIELDS = [
  { name: 'minute', minimum: 0, maximum: 59 },
  { name: 'hour', minimum: 0, maximum: 23 },
  { name: 'day of the month', minimum: 1, maximum: 31 },
  { name: 'month', minimum: 1, maximum: 12 },
  { name: 'day of the week', minimum: 0, maximum: 7 },
] as const
/** A leap day that is also a given weekday comes at least once in 40 years. */
const DAYS_AHEAD_MAX = 366 * 41
const MINUTE_MS = 60_000
const DAY_MS = 86_400_000

interface Cron {
  minutes: number[]
  hours: number[]
  days: ReadonlySet<number>
  months: ReadonlySet<number>
  weekdays: ReadonlySet<number>
  /** With both given, a day that fits either counts: cron's old rule. */
  anyDay: boolean
  anyWeekday: boolean
}

function refuse(text: string, why: string): never {
  const hint = 'minute hour day month weekday, e.g. "30 2 * * 0"'
  throw new HowdahError('bad-request', `schedule ${JSON.stringify(text)}: ${why}: ${hint}`)
}

/** Throws `bad-request` saying which field is wrong. */
export function parseCron(text: string): Cron {
  const parts = text.trim().split(/\s+/)
  if (parts.length !== FIELDS.length) refuse(text, `it has ${parts.length} fields, not 5`)
  const [minutes, hours, days, months, weekdays] = FIELDS.map((field, index) =>
    parseField(text, parts[index] as string, field),
  ) as [number[], number[], number[], number[], number[]]
  const cron: Cron = {
    minutes,
    hours,
    days: new Set(days),
    months: new Set(months),
    weekdays: new Set(weekdays.map((day) => day % 7)),
    anyDay: parts[2] === '*',
    anyWeekday: parts[4] === '*',
  }
  return cron
}

function parseField(text: string, part: string, field: (typeof FIELDS)[number]): number[] {
  const values = new Set<number>()
  for (const item of part.split(',')) {
    const match = /^(\*|(\d{1,2})(?:-(\d{1,2}))?)(?:\/(\d{1,2}))?$/.exec(item)
    if (match === null) refuse(text, `the ${field.name} cannot be ${JSON.stringify(item)}`)
    const step = match[4] === undefined ? 1 : Number(match[4])
    const isOpen = match[1] === '*' || (match[3] === undefined && match[4] !== undefined)
    const first = match[2] === undefined ? field.minimum : Number(match[2])
    const last = isOpen ? field.maximum : Number(match[3] ?? match[2])
    if (step === 0 || first < field.minimum || last > field.maximum || first > last) {
      refuse(text, `the ${field.name} is from ${field.minimum} to ${field.maximum}`)
    }
    for (let value = first; value <= last; value += step) values.add(value)
  }
  return [...values].sort((a, b) => a - b)
}

export function isTimeZone(zone: string): boolean {
  if (!/^(UTC|GMT|[A-Z][A-Za-z_]+(\/[A-Z][A-Za-z0-9_+-]+){1,2})$/.test(zone)) return false
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone })
    return true
  } catch {
    return false
  }
}

/** The first moment after `afterMs` that fits; undefined for one that never comes (30 February). */
export function nextRun(text: string, zone: string, afterMs: number): number | undefined {
  const cron = parseCron(text)
  const clock = makeClock(zone)
  const today = Math.floor((afterMs + clock.offsetMs(afterMs)) / DAY_MS)
  for (let ahead = 0; ahead <= DAYS_AHEAD_MAX; ahead += 1) {
    const dayMs = (today + ahead) * DAY_MS
    if (!fitsDay(cron, new Date(dayMs))) continue
    for (const hour of cron.hours) {
      for (const minute of cron.minutes) {
        const atMs = clock.toUtcMs(dayMs + (hour * 60 + minute) * MINUTE_MS)
        if (atMs > afterMs) return atMs
      }
    }
  }
  return undefined
}

function fitsDay(cron: Cron, day: Date): boolean {
  if (!cron.months.has(day.getUTCMonth() + 1)) return false
  const byDay = cron.days.has(day.getUTCDate())
  const byWeekday = cron.weekdays.has(day.getUTCDay())
  if (cron.anyDay) return byWeekday
  return cron.anyWeekday ? byDay : byDay || byWeekday
}

function makeClock(zone: string) {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone: zone,
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  })
  function offsetMs(utcMs: number): number {
    const part = Object.fromEntries(
      format.formatToParts(utcMs).map(({ type, value }) => [type, Number(value)]),
    ) as Record<string, number>
    const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = part
    const localMs = Date.UTC(year, month - 1, day, hour, minute, second)
    return localMs - Math.floor(utcMs / 1000) * 1000
  }
  return {
    offsetMs,
    /** A local time that a jump leaves out is taken as the moment of the jump's other side. */
    toUtcMs(localMs: number): number {
      const before = localMs - offsetMs(localMs - DAY_MS)
      if (before + offsetMs(before) === localMs) return before
      const after = localMs - offsetMs(localMs + DAY_MS)
      return after + offsetMs(after) === localMs ? after : Math.max(before, after)
    },
  }
}
