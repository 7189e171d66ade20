// Owns the picture of an operation as a list of steps: pure, from the operation and the time now.
import type { Operation, OperationStep } from '@howdah/core/contract/operations.ts'
import { formatDuration, type Paint } from './output.ts'
import { fitWidth, safeLine } from './safe-text.ts'

const FRAMES = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏']
const COLUMNS_MIN = 20

export interface StepListView {
  nowMs: number
  /** Of the terminal; a line that wrapped would break the redrawing. */
  columns: number
  rows: number
  /** Counts up; picks the picture of the spinner. */
  frame: number
  paint: Paint
  /** Said below the list, e.g. that the connection is lost; empty for nothing. */
  notice: string
}

export function renderStepList(operation: Operation, view: StepListView): string[] {
  const columns = Math.max(COLUMNS_MIN, view.columns - 1)
  const title = fitWidth(safeLine(operation.title), columns - 12)
  const elapsed = formatElapsed(operation.started_at, operation.ended_at, view.nowMs)
  const lines = [`${view.paint('bold', title)} ${view.paint('dim', elapsed)}`.trimEnd()]
  const shown = stepsInView(operation.steps, Math.max(1, view.rows - 4))
  if (shown.hidden > 0) lines.push(view.paint('dim', `  … ${shown.hidden} more steps`))
  for (const step of shown.steps) lines.push(renderStep(step, view, columns))
  if (view.notice !== '') lines.push(view.paint('yellow', fitWidth(safeLine(view.notice), columns)))
  return lines
}

/** Where the terminal is too small: the steps around the first that is not done. */
function stepsInView(
  steps: OperationStep[],
  countMax: number,
): { steps: OperationStep[]; hidden: number } {
  if (steps.length <= countMax) return { steps, hidden: 0 }
  const active = steps.findIndex((step) => step.state !== 'succeeded' && step.state !== 'skipped')
  const last = active < 0 ? steps.length - 1 : active
  const from = Math.max(0, Math.min(last - Math.floor(countMax / 2), steps.length - countMax))
  return { steps: steps.slice(from, from + countMax), hidden: steps.length - countMax }
}

function renderStep(step: OperationStep, view: StepListView, columns: number): string {
  const elapsed = formatElapsed(step.started_at, step.ended_at, view.nowMs)
  const saysMore = step.state === 'running' || step.state === 'failed'
  const message = saysMore && step.message !== '' ? ` · ${safeLine(step.message)}` : ''
  const text = fitWidth(safeLine(step.title) + message, columns - 5 - elapsed.length)
  const dimmed = step.state === 'pending' || step.state === 'skipped'
  const shown = dimmed ? view.paint('dim', text) : text
  return `  ${mark(step.state, view)} ${shown} ${view.paint('dim', elapsed)}`.trimEnd()
}

function mark(state: OperationStep['state'], view: StepListView): string {
  if (state === 'succeeded') return view.paint('green', '✓')
  if (state === 'failed') return view.paint('red', '✗')
  if (state === 'skipped') return view.paint('dim', '-')
  if (state === 'running') return view.paint('cyan', FRAMES[view.frame % FRAMES.length] ?? '')
  return view.paint('dim', '·')
}

function formatElapsed(from: string | null, to: string | null, nowMs: number): string {
  if (from === null) return ''
  const durationMs = (to === null ? nowMs : Date.parse(to)) - Date.parse(from)
  return Number.isFinite(durationMs) ? formatDuration(durationMs) : ''
}
