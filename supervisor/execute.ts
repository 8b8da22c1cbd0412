/** Carries out what was decided, and tells by events what came of it. It keeps nothing between two actions. */
import { inWords } from '../shared/systemErrors.ts'
import type { ResolvedService } from './config/parseConfig.ts'
import type { Fleet } from './core/ports.ts'
import type { Action, Event } from './core/types.ts'

/** What carrying out takes; all of it is looked up anew for each action, as a reload may come in between. */
export interface ExecutionPorts {
  readonly fleet: Fleet
  /** The auth key of a service; undefined when it has none and a person has to log the node in. Rejects with the reason. */
  readonly authKey: (service: ResolvedService, options: { fresh: boolean }) => Promise<string | undefined>
  /** A service of the configuration that is in force; undefined when it has been removed since the action was decided. */
  readonly service: (name: string) => ResolvedService | undefined
  /** How long connections may take to end. */
  readonly drainMs: () => number
  /** Writes that certificates were ordered; rejects when it cannot. */
  readonly rememberOrders: () => Promise<void>
  readonly post: (event: Event) => void
}

/** Begins an action and returns at once. Never throws: a call that fails is an event, `callFailed`. */
export function execute(action: Action, ports: ExecutionPorts): void {
  const { fleet } = ports
  switch (action.type) {
    case 'spawnWorker':
      fleet.spawn(action.workerId, action.shard)
      return
    case 'killWorker':
      fleet.kill(action.workerId)
      return
    case 'shutdownWorker':
      // A worker that does not take the call is killed at its deadline.
      fleet.shutdown(action.workerId, ports.drainMs()).catch(() => undefined)
      return
    case 'putService':
      void call(action, put, ports)
      return
    case 'deleteService':
      void call(action, remove, ports)
      return
    case 'orderCertificate':
      void call(action, orderCertificate, ports)
      return
  }
}

type ActionOf<Type extends Action['type']> = Extract<Action, { type: Type }>

async function call<Call extends { readonly workerId: string; readonly name: string }>(
  action: Call,
  make: (action: Call, ports: ExecutionPorts) => Promise<void>,
  ports: ExecutionPorts,
): Promise<void> {
  const { workerId, name } = action
  try {
    await make(action, ports)
    ports.post({ type: 'callDone', workerId, name })
  } catch (error) {
    const reason = error instanceof CredentialProblem ? 'CredentialUnavailable' : 'WaitingForWorker'
    ports.post({ type: 'callFailed', workerId, name, reason, message: inWords(error) })
  }
}

async function put(action: ActionOf<'putService'>, { fleet, authKey, service, post }: ExecutionPorts): Promise<void> {
  const { workerId, name } = action
  const wanted = service(name)
  // Removed from the configuration since the action was decided: the next tick knows.
  if (!wanted) return
  const key = await authKey(wanted, { fresh: action.freshKey }).catch((error: unknown) => {
    throw new CredentialProblem(inWords(error))
  })
  const status = await fleet.put(workerId, {
    ...wanted.spec,
    ...(key === undefined ? {} : { authKey: key }),
    ...(action.retry ? { retry: true } : {}),
    ...(action.standby ? { standby: true } : {}),
  })
  post({ type: 'serviceChanged', workerId, service: status })
}

async function remove({ workerId, name }: ActionOf<'deleteService'>, { fleet, drainMs, post }: ExecutionPorts): Promise<void> {
  const had = await fleet.delete(workerId, name, drainMs())
  // Whatever has been told of it was told before: while this call was open, no other was made.
  if (!had) post({ type: 'serviceRemoved', workerId, name, revision: Number.MAX_SAFE_INTEGER })
}

async function orderCertificate(
  { workerId, name }: ActionOf<'orderCertificate'>,
  { fleet, service, rememberOrders, post }: ExecutionPorts,
): Promise<void> {
  // Written before it is made: a supervisor that dies in between counts one too many, and not one too few.
  await rememberOrders()
  const wanted = service(name)
  if (!wanted) return
  const status = await fleet.put(workerId, { ...wanted.spec, orderCertificate: true })
  post({ type: 'serviceChanged', workerId, service: status })
}

class CredentialProblem extends Error {}
