// Owns how an enrolment token is shown: it works once, and is shown once.
import type { EnrolmentToken } from '@howdah/core/contract/hosts.ts'
import { formatFields, type Paint } from './output.ts'

export function formatEnrolment(paint: Paint, enrolment: EnrolmentToken): string[] {
  return [
    ...formatFields(paint, [
      ['host', enrolment.host.name],
      ['token', { text: enrolment.token, style: 'bold' }],
      ['expires', enrolment.expires_at],
    ]),
    paint('dim', 'The token is shown this once and works once. On the host, put it into a file'),
    paint('dim', '(mode 0600) that HOWDAH_ENROLMENT_TOKEN_FILE names, and start the agent.'),
  ]
}
