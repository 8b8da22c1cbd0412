/** Events without the secrets that a worker's words may hold: they go into the status, the logs and the state file. Pure. */
import type { ServiceStatus } from '../../shared/protocol.ts'
import { withoutSecrets } from '../../shared/secrets.ts'
import type { Event } from './types.ts'

/** The event with its messages masked: a worker repeats the URL that it could not use, whole. */
export function maskEvent(event: Event): Event {
  switch (event.type) {
    case 'workerLost':
    case 'workerExited':
    case 'callFailed':
      return { ...event, message: withoutSecrets(event.message) }
    case 'serviceChanged':
      return { ...event, service: maskService(event.service) }
    case 'workerState':
      return { ...event, state: { ...event.state, services: event.state.services.map(maskService) } }
    default:
      return event
  }
}

function maskService(service: ServiceStatus): ServiceStatus {
  const problems = service.problems.map(({ part, message }) => ({ part, message: withoutSecrets(message) }))
  return { ...service, message: withoutSecrets(service.message), problems }
}
