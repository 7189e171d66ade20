// The one catalogue of operating errors: every code that a person or a program can meet.
// A code is API: it never changes its meaning. Programmer errors are plain `Error`s whose message
// starts with "BUG:"; they are not listed here and never reach a user as anything but `internal`.

export interface ErrorEntry {
  /** HTTP status at the API's edge; nothing below `api/` looks at it. */
  http: number
  /**
   * Exit code of the CLI: 1 failure, 2 usage, 3 auth, 4 not found, 5 conflict, 6 timeout, 7
   * operation failed.
   */
  exit: number
  /** Whether the same request may succeed later without a change. */
  retryable: boolean
  title: string
  hint: string
}

// biome-ignore format: a row of numbers, then the two texts, reads as the table that it is.
export const ERRORS = {
  internal: {
    http: 500, exit: 1, retryable: true,
    title: 'the control plane met an error of its own',
    hint: 'look for the request id in the control plane log, and report it',
  },
  'bad-request': {
    http: 400, exit: 2, retryable: false,
    title: 'the request does not fit the schema',
    hint: 'see the errors list for each field, and /docs for the schema',
  },
  'body-too-large': {
    http: 413, exit: 2, retryable: false,
    title: 'the request body is too large',
    hint: 'send less than 1 MiB',
  },
  'unsupported-media-type': {
    http: 415, exit: 2, retryable: false,
    title: 'the request body is not JSON',
    hint: 'send content-type: application/json',
  },
  'not-authenticated': {
    http: 401, exit: 3, retryable: false,
    title: 'a valid token is needed',
    hint: 'send "Authorization: Bearer <token>"; howdah whoami tries the one of the CLI',
  },
  'not-allowed': {
    http: 403, exit: 3, retryable: false,
    title: 'your role does not allow this',
    hint: 'ask an administrator for a role that does; howdah api GET /v1/whoami shows yours',
  },
  'not-found': {
    http: 404, exit: 4, retryable: false,
    title: 'there is no such thing',
    hint: 'list what there is, e.g. howdah cluster list',
  },
  'name-taken': {
    http: 409, exit: 5, retryable: false,
    title: 'the name is taken',
    hint: 'choose another name; a deleted cluster keeps its name until it is purged',
  },
  'operation-running': {
    http: 409, exit: 5, retryable: true,
    title: 'another operation changes this cluster now',
    hint: 'wait for it (howdah op watch ID) or cancel it (howdah op cancel ID)',
  },
  'wrong-state': {
    http: 409, exit: 5, retryable: false,
    title: 'the resource is not in a state that allows this',
    hint: 'see its state with the show command',
  },
  'version-mismatch': {
    http: 412, exit: 5, retryable: false,
    title: 'somebody else changed it since you read it',
    hint: 'read it again, and send the new ETag in If-Match',
  },
  'if-match-required': {
    http: 428, exit: 2, retryable: false,
    title: 'a change of a versioned resource needs If-Match',
    hint: 'send the ETag that a GET returned, or "If-Match: *" to overwrite whatever is there',
  },
  'idempotency-mismatch': {
    http: 422, exit: 5, retryable: false,
    title: 'this Idempotency-Key was used with a different request',
    hint: 'use a new key for a new request',
  },
  'idempotency-in-progress': {
    http: 409, exit: 5, retryable: true,
    title: 'the first request with this Idempotency-Key is still being handled',
    hint: 'retry in a second with the same key',
  },
  'confirmation-missing': {
    http: 422, exit: 2, retryable: false,
    title: 'this needs a typed confirmation',
    hint: 'send the name of the resource in "confirm"',
  },
  'invalid-name': {
    http: 422, exit: 2, retryable: false,
    title: 'the name cannot be used',
    hint: 'see the detail for the rule',
  },
  'invalid-parameter': {
    http: 422, exit: 2, retryable: false,
    title: 'a parameter cannot have this value',
    hint: 'howdah api GET /v1/parameters lists the parameters and what each accepts',
  },
  'invalid-password': {
    http: 422, exit: 2, retryable: false,
    title: 'the password cannot be used',
    hint: 'leave it out, and a strong one is generated',
  },
  'no-capacity': {
    http: 409, exit: 5, retryable: true,
    title: 'the hosts cannot take this cluster',
    hint: 'add a host or delete a cluster; howdah host list shows the hosts',
  },
  'host-away': {
    http: 409, exit: 5, retryable: true,
    title: 'a host of the cluster is away',
    hint: 'howdah host list shows it; without it: howdah cluster scale NAME --remove INSTANCE',
  },
  'no-such-version': {
    http: 422, exit: 2, retryable: false,
    title: 'that PostgreSQL version is not installed on the hosts',
    hint: 'howdah host list shows the versions; install the package on every host',
  },
  'no-dcs': {
    http: 409, exit: 5, retryable: true,
    title: 'the platform has no dcs (etcd) yet',
    hint: 'create one with POST /v1/dcs; howdah up does it',
  },
  'cluster-unreachable': {
    http: 503, exit: 6, retryable: true,
    title: 'the cluster did not answer in time',
    hint: 'see howdah cluster show NAME for the state of its instances',
  },
  'database-refused': {
    http: 422, exit: 1, retryable: false,
    title: 'PostgreSQL refused it',
    hint: 'the detail is what PostgreSQL said',
  },
  'repository-failed': {
    http: 422, exit: 1, retryable: true,
    title: 'the repository of backups does not do what it should',
    hint: 'the detail is what the repository said; howdah repo list shows where it is',
  },
  'backup-damaged': {
    http: 422, exit: 1, retryable: false,
    title: 'the backup cannot be restored',
    hint: 'take another: howdah backup create NAME --type full; older ones may still do',
  },
  'place-taken': {
    http: 409, exit: 5, retryable: false,
    title: 'that place is a repository already',
    hint: 'howdah repo list shows it; howdah repo update gives it other keys',
  },
  'no-repository': {
    http: 409, exit: 5, retryable: false,
    title: 'the cluster has no repository for backups',
    hint: 'add one: howdah repo add; howdah repo list shows what there is',
  },
  'outside-window': {
    http: 422, exit: 2, retryable: false,
    title: 'that moment cannot be restored',
    hint: 'howdah backup status NAME shows what can be',
  },
  'agent-refused': {
    http: 422, exit: 1, retryable: false,
    title: 'the agent refused the task',
    hint: 'see the detail and the log of the agent',
  },
  'enrolment-refused': {
    http: 403, exit: 3, retryable: false,
    title: 'the enrolment token is wrong, used or expired',
    hint: 'make a new one: howdah host token NAME; a token lives 15 minutes and works once',
  },
  'drill-failed': {
    http: 422, exit: 7, retryable: false,
    title: 'a drill showed what must not happen',
    hint: 'howdah api GET /v1/clusters/NAME/drills shows the report, howdah op logs ID the rounds',
  },
  'not-cancellable': {
    http: 409, exit: 5, retryable: false,
    title: 'the operation can no longer be cancelled',
    hint: 'howdah op watch ID shows how it goes on',
  },
  'not-retryable': {
    http: 409, exit: 5, retryable: false,
    title: 'only a failed operation can be retried',
    hint: 'howdah op list shows the states',
  },
  'operation-failed': {
    http: 500, exit: 7, retryable: true,
    title: 'the operation failed',
    hint: 'howdah op logs ID shows the step; howdah op retry ID tries it again',
  },
  'step-timeout': {
    http: 504, exit: 6, retryable: true,
    title: 'a step did not finish in time',
    hint: 'howdah op logs ID shows what was last seen; fix the cause, then howdah op retry ID',
  },
  'task-lost': {
    http: 503, exit: 6, retryable: true,
    title: 'the agent did not finish the task',
    hint: 'see howdah host list: is the host online?',
  },
  'platform-unreachable': {
    http: 503, exit: 6, retryable: true,
    title: 'the platform does not answer',
    hint: 'start it with howdah up, or see howdah status',
  },
  'preflight-failed': {
    http: 409, exit: 2, retryable: false,
    title: 'this machine is not ready',
    hint: 'fix what is listed, then try again; howdah doctor shows all checks',
  },
  'too-many-requests': {
    http: 429, exit: 5, retryable: true,
    title: 'too many requests, says what stands before the API: it refuses none itself',
    hint: 'slow down',
  },
} as const satisfies Record<string, ErrorEntry>

export type ErrorCode = keyof typeof ERRORS

export interface FieldError {
  /** JSON pointer into the request, e.g. `/instances`. */
  pointer: string
  message: string
}

/**
 * An expected failure. `detail` says what happened this time; code and hint come from the
 * catalogue.
 */
export class HowdahError extends Error {
  readonly code: ErrorCode
  readonly fields: FieldError[]
  readonly extra: Record<string, string>

  constructor(
    code: ErrorCode,
    detail: string,
    options: { cause?: unknown; fields?: FieldError[]; extra?: Record<string, string> } = {},
  ) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'HowdahError'
    this.code = code
    this.fields = options.fields ?? []
    this.extra = options.extra ?? {}
  }
}

/** The text of any thrown thing with its causes, for logs and step records; never a stack. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const cause = error.cause === undefined ? '' : `: ${describeError(error.cause)}`
  const text = error.message === '' ? error.name : error.message
  return `${text}${cause}`
}
