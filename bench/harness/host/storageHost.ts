/**
 * The host of the investigation, out of network namespaces: many container interfaces, many listening processes, and a
 * container that starts and stops every few seconds.
 *
 * Two namespaces: in "host" run subject and upstreams, in "world" control plane, relay and clients. Nothing but the uplink
 * joins them (eth0 of either), so the uplink's counters are the subject's network traffic. There is no way from "world" to
 * anywhere else.
 */
import * as z from 'zod'
import type { Attendant } from './attendant.ts'
import { CHURN_PRESENCE, type Churn, startChurn } from './churn.ts'
import { bridgeName, vethName } from './interfaceNames.ts'
import { SOCKETS_PER_PROCESS, startListeners } from './listeners.ts'
import { enterNamespace, ip, namespaceName, removeNamespace, removeStaleNamespaces } from './namespaces.ts'

export const HOST_ADDRESS = '192.168.77.2'
export const WORLD_ADDRESS = '192.168.77.1'

/** With eth0 and lo there are 82 interfaces then. */
const PAIRS = 40

export type Place = 'host' | 'world'

export interface StorageHostOptions {
  /** Processes with two listening sockets each; 300 by default. */
  processes?: number
  /** From one interface that comes and goes to the next; 4000 by default, 0: none does. */
  churnMs?: number
  /** Aborted while the host is being made: it is taken down again and the promise rejects. */
  signal?: AbortSignal
}

/** Bytes of Ethernet frames since the host was opened. */
export interface Traffic {
  sentBytes: number
  receivedBytes: number
}

export interface StorageHost {
  /** What to spawn so that a program runs in a place; its pid is that of what is spawned. */
  command(place: Place, file: string, args: readonly string[]): [file: string, args: string[]]
  /** What went over the uplink, seen from the host. */
  uplinkBytes(): Promise<Traffic>
  /** The host in one sentence, for the report. */
  describe(): string
  /** Throws when a part of the host has ended by itself: figures taken since are those of another host. */
  check(): void
  /** Kills what still runs in either place and removes everything. May be called again. */
  close(): Promise<void>
}

const Links = z
  .tuple([
    z.looseObject({
      stats64: z.looseObject({ rx: z.looseObject({ bytes: z.number() }), tx: z.looseObject({ bytes: z.number() }) }),
    }),
  ])
  .transform(([{ stats64 }]) => ({ sentBytes: stats64.tx.bytes, receivedBytes: stats64.rx.bytes }))

/**
 * Makes the host; needs root. One per process at a time. What runs a process that was killed has left is removed first.
 * Rejects with what to do when there is no root, no `ip`, or no right to namespaces; then nothing is left either.
 */
export async function openStorageHost(options: StorageHostOptions = {}): Promise<StorageHost> {
  const { processes = 300, churnMs = 4000, signal } = options
  if (process.getuid?.() !== 0) throw new Error('the storage host is made of network namespaces, which needs root: use sudo')
  const names: Record<Place, string> = { host: namespaceName('host'), world: namespaceName('world') }
  let listeners: Attendant | undefined
  let churn: Churn | undefined

  async function takeDown(): Promise<void> {
    await Promise.all([listeners?.stop(), churn?.stop()])
    await Promise.all(Object.values(names).map(removeNamespace))
  }

  try {
    await removeStaleNamespaces()
    await ip(['netns', 'add', names.host])
    await ip(['netns', 'add', names.world])
    await ip(['link', 'add', 'eth0', 'netns', names.host, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', names.world])
    await ip(['-n', names.world], ['link set lo up', `address add ${WORLD_ADDRESS}/24 dev eth0`, 'link set eth0 up'])
    await ip(['-n', names.host], hostInterfaces())
    listeners = startListeners(names.host, processes)
    await listeners.ready()
    if (churnMs > 0) churn = startChurn(names.host, churnMs)
    signal?.throwIfAborted()
  } catch (error) {
    // Why it could not be made matters more than what went wrong with taking it down.
    await takeDown().catch(() => undefined)
    throw error
  }

  let closed: Promise<void> | undefined
  return {
    command: (place, file, args) => enterNamespace(names[place], file, args),
    uplinkBytes: async () =>
      Links.parse(JSON.parse(await ip(['-n', names.host, '-json', '-statistics', 'link', 'show', 'dev', 'eth0']))),
    describe: () => describe(processes, churnMs),
    check() {
      listeners.check()
      churn?.check()
    },
    close: () => (closed ??= takeDown()),
  }
}

/**
 * A host for as long as `use` takes. SIGINT and SIGTERM abort `use`'s signal and take the host down, which ends whatever is
 * waited for; `use` then clears up behind itself.
 */
export async function withStorageHost<T>(use: (host: StorageHost, signal: AbortSignal) => Promise<T>): Promise<T> {
  const stop = new AbortController()
  const host = await openStorageHost({ signal: stop.signal })
  const interrupt = () => {
    stop.abort(new Error('interrupted'))
    void host.close()
  }
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt)
  try {
    return await use(host, stop.signal)
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt)
    await host.close()
  }
}

/** Lines of `ip -batch`. The address is where Docker has it: on the network, not on the container's interface. */
function hostInterfaces(): string[] {
  const pairs = Array.from({ length: PAIRS }, (_, index) => {
    const [bridge, veth] = [bridgeName(`network ${index + 1}`), vethName(`container ${index + 1}`)]
    return [
      `link add ${bridge} type veth peer name ${veth}`,
      `address add 10.200.${index + 1}.1/24 dev ${bridge}`,
      `link set ${bridge} up`,
      `link set ${veth} up`,
    ]
  })
  const uplink = [`address add ${HOST_ADDRESS}/24 dev eth0`, 'link set eth0 up', `route add default via ${WORLD_ADDRESS}`]
  return ['link set lo up', ...pairs.flat(), ...uplink]
}

function describe(processes: number, churnMs: number): string {
  const seconds = (ms: number) => `${ms / 1000} s`
  const coming =
    churnMs > 0
      ? `every ${seconds(churnMs)} a pair of interfaces appears, gets an address and goes ${seconds(churnMs * CHURN_PRESENCE)} later`
      : 'no interface comes or goes'
  return (
    `A network namespace with ${2 * PAIRS + 2} interfaces (${PAIRS} veth pairs named like Docker's, each with an IPv4 network, an ` +
    `uplink, loopback) and ${processes} processes with ${SOCKETS_PER_PROCESS} listening sockets each; ${coming}.`
  )
}
