// Renders what the agent answers at the endpoints of a gateway while its cluster is restored in
// place. Its statistics are no endpoint of PostgreSQL: nobody answers there meanwhile.
import type { Refusal } from '../host-spec.ts'
import type { RenderClosedGateway } from './model.ts'

export function renderRefusal(closed: RenderClosedGateway): Refusal {
  const { gateway, clusterName, operationId, failed } = closed
  const { write, read, writeDirect, readDirect } = gateway.ports
  const why = failed
    ? 'accepts no connections, as it could not be restored'
    : 'is being restored and accepts no connections until that is done'
  return {
    address: gateway.host.address,
    ports: [write, read, writeDirect, readDirect],
    certificatePem: gateway.tls.certificatePem,
    keyPem: gateway.tls.keyPem,
    message: oneLine(`cluster "${clusterName}" ${why}`),
    hint: oneLine(`howdah op ${failed ? 'logs' : 'watch'} ${operationId}`),
  }
}

/** A text that the schema would refuse must not keep a host from its whole spec. */
function oneLine(text: string): string {
  return text.replace(/\p{Cc}/gu, ' ').slice(0, 300)
}
