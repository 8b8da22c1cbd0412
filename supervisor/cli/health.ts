/** Whether a supervisor does its work, in words. Pure. */
import type { Status } from '../../shared/api.ts'

/** What keeps the supervisor or a worker from working, one sentence each; empty when all is well. */
export function ailments({ phase, shards, journalError, orphans }: Status): string[] {
  return [
    ...(phase === 'stopping' ? ['The supervisor is stopping.'] : []),
    ...(journalError === '' ? [] : [`The state file cannot be written: ${journalError}.`]),
    ...shards.filter(({ workerPid }) => workerPid === null).map(({ shard }) => `Shard ${String(shard)} has no worker.`),
    ...shards
      .filter(({ silentSince }) => silentSince !== null)
      .map(({ shard }) => `The worker of shard ${String(shard)} does not answer.`),
    ...orphans.map(({ message }) => message),
  ]
}

/** Services that are not ready, and why: one line each. */
export const unready = ({ services }: Status): string[] =>
  services
    .filter(({ ready }) => !ready)
    .map(({ name, phase, reason, message, loginURL }) => `${name}: ${phase}, ${loginURL || message || reason}`)

/** What does not work of services that are ready: one line each. */
export const impaired = ({ services }: Status): string[] =>
  services.flatMap(({ name, ready, problems }) =>
    ready ? problems.map(({ part, message }) => `${name}: ${part}: ${message}`) : [],
  )
