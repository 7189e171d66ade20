// Owns the failure of a task as the control plane sees it: a code to branch on and a text for
// people. Neither may hold a secret.

export class TaskError extends Error {
  readonly code: string

  constructor(code: string, message: string, options?: { cause: unknown }) {
    super(message, options)
    this.name = 'TaskError'
    this.code = code
  }
}
