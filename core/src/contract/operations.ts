// Owns operations and events as the API shows them.
import { type Static, Type } from 'typebox'
import { Timestamp } from './resource.ts'

export const OPERATION_STATES = [
  'scheduled',
  'pending',
  'running',
  'succeeded',
  'failed',
  'cancelled',
] as const
export const OperationState = Type.Enum([...OPERATION_STATES])

export const OperationStep = Type.Object({
  name: Type.String(),
  title: Type.String({ description: 'For people: what the step does' }),
  state: Type.Enum(['pending', 'running', 'succeeded', 'failed', 'skipped']),
  message: Type.String({ description: 'The last thing the step said' }),
  started_at: Type.Union([Timestamp, Type.Null()]),
  ended_at: Type.Union([Timestamp, Type.Null()]),
})

export const Operation = Type.Object({
  id: Type.String(),
  kind: Type.String(),
  title: Type.String(),
  state: OperationState,
  cancel_requested: Type.Boolean(),
  cluster_id: Type.Union([Type.String(), Type.Null()]),
  cluster_name: Type.Union([Type.String(), Type.Null()]),
  attempt: Type.Integer(),
  steps: Type.Array(OperationStep),
  error: Type.Union([
    Type.Object({
      code: Type.String(),
      detail: Type.String(),
      hint: Type.String(),
      step: Type.String(),
    }),
    Type.Null(),
  ]),
  created_by: Type.String(),
  created_at: Timestamp,
  started_at: Type.Union([Timestamp, Type.Null()]),
  ended_at: Type.Union([Timestamp, Type.Null()]),
})

/**
 * Kinds: `operation.<state>`, `step.<state>`, `step.progress`, `host.…`, `user.…`, `token.…`,
 * `archive.…`, `backup.…`, `guard.…`. An SSE event has this object as data, the kind as event name
 * and the id as id.
 */
export const Event = Type.Object({
  id: Type.String({ description: 'Grows; the cursor of the stream' }),
  kind: Type.String(),
  message: Type.String({ description: 'One sentence for people' }),
  cluster_id: Type.Union([Type.String(), Type.Null()]),
  host_id: Type.Union([Type.String(), Type.Null()]),
  operation_id: Type.Union([Type.String(), Type.Null()]),
  data: Type.Record(Type.String(), Type.Unknown()),
  at: Timestamp,
})

export type Operation = Static<typeof Operation>
export type OperationStep = Static<typeof OperationStep>
export type Event = Static<typeof Event>
