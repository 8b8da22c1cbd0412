/** Everything that a run can compare: ours, its ablations, the floor, and the peers that were given. */
import type { Binaries } from '../build.ts'
import type { Scope } from '../plan.ts'
import { bare } from './bare.ts'
import { type Variant, ours } from './ours.ts'
import { HTTPS_SCOPE, UNSATURATED, type Subject } from './subject.ts'
import { tsbridge } from './tsbridge.ts'
import { tsnsrv } from './tsnsrv.ts'

/** What can be given with --peer, by name. */
export const PEERS: Readonly<Record<string, (binary: string) => Subject[]>> = {
  tsnsrv: (binary) => [
    tsnsrv(binary, {
      key: 'tsnsrv',
      title: 'tsnsrv',
      about: 'arsfeld/tsnsrv, all services in one process.',
      servicesPerProcess: Infinity,
    }),
    tsnsrv(binary, {
      key: 'tsnsrv-https',
      title: 'tsnsrv, https',
      about: 'arsfeld/tsnsrv, all services in one process, with a certificate from a file.',
      servicesPerProcess: Infinity,
      scope: HTTPS_SCOPE,
      https: true,
    }),
    tsnsrv(binary, {
      key: 'tsnsrv-shards',
      title: 'tsnsrv, shards by hand',
      about: 'arsfeld/tsnsrv in processes of at most 20 services, as the investigation recommends.',
      // The saturated loads are measured with fewer services, where it is one process.
      scope: { loads: UNSATURATED, most: { headline: 1 }, least: 21 },
      servicesPerProcess: 20,
    }),
    tsnsrv(binary, {
      key: 'tsnsrv-separate',
      title: 'tsnsrv, separate processes',
      about: 'arsfeld/tsnsrv, a process for each service, as its NixOS module does by default.',
      scope: { loads: UNSATURATED, most: { headline: 1 } },
      servicesPerProcess: 1,
    }),
  ],
  tsbridge: (binary) => [tsbridge(binary)],
}

/** Each of our measures switched off alone, or set to another value. */
const ABLATIONS: readonly Omit<Variant, 'group'>[] = [
  ...Object.entries({
    'interface-table': 'each node lists the interfaces for itself',
    'interface-filter': "containers' interfaces count as the host's",
    'shared-subscription': 'each node has its own subscription to news of interfaces and routes',
    'one-core': 'each worker uses all cores, and not one more only when those that it has are full',
    'delayed-ack': 'TCP acknowledges each request at once, by a packet of its own',
    'timer-slack': 'the kernel wakes a worker for each timer by itself',
    'gc-tuning': "Go's own garbage collection target (GOGC=100)",
  }).map(([measure, about]) => ({
    key: `no-${measure}`,
    title: `without ${measure.replace('-', ' ')}`,
    about: `Ours, but ${about}.`,
    env: { TSNSRV_WORKER_DISABLE: measure },
  })),
  {
    key: 'start-one-by-one',
    title: 'starting one by one',
    about: 'Ours with --start-concurrency 1: a worker starts its nodes one after another.',
    flags: ['--start-concurrency', '1'],
  },
  { key: 'pinned', title: 'workers pinned', about: 'Ours, but each worker is bound to one core.', pinned: true },
  { key: 'log-upload', title: 'with log upload', about: 'Ours with --log-upload.', flags: ['--log-upload'] },
  {
    key: 'no-port-mapping',
    title: 'without port mapping',
    about: 'Ours with --port-mapping=false: nodes do not ask the router for a way in.',
    flags: ['--port-mapping=false'],
  },
]

/** The measures that have to do with what a request costs. */
const OF_REQUESTS = new Set(['no-one-core', 'no-delayed-ack', 'no-timer-slack', 'no-gc-tuning', 'pinned'])

/** So many services that each size of a shard makes a difference. */
const SIZING_SERVICES = 100
const SHARD_SIZES = [1, 5, 10, 57, 100]

const SIZING: readonly Omit<Variant, 'group'>[] = SHARD_SIZES.map((size) => ({
  key: `shard-size-${size}`,
  title: `shards of ${size}`,
  about: `Ours with --shard-size ${size} (default 20).`,
  flags: ['--shard-size', String(size)],
  scope: { variant: { services: SIZING_SERVICES } },
}))

/** All subjects, ours first. `peers` are binaries by the names of PEERS. */
export function allSubjects(binaries: Binaries, version: string, peers: Readonly<Record<string, string>>): Subject[] {
  const about = 'This project with its defaults: one supervisor, workers of at most 20 services.'
  return [
    ours(binaries, version, { key: 'ours', title: 'tsnsrv-sup', about, group: 'ours' }),
    ours(binaries, version, {
      key: 'ours-https',
      title: 'tsnsrv-sup, https',
      about: 'This project with its defaults and a certificate from a file.',
      group: 'https',
      scope: HTTPS_SCOPE,
      https: true,
    }),
    ...Object.entries(peers).flatMap(([name, binary]) => PEERS[name]?.(binary) ?? []),
    bare(binaries.bench),
    bare(binaries.bench, 'bare-https'),
    bare(binaries.bench, 'limit'),
    ...ABLATIONS.map((each) => {
      const scope: Scope = {
        variant: {},
        loads: ['idle', 'moderate', 'saturated'],
        ...(OF_REQUESTS.has(each.key) ? {} : { most: { saturation: 0 } }),
      }
      return ours(binaries, version, { ...each, group: 'ablation', scope })
    }),
    ...SIZING.map((each) => ours(binaries, version, { ...each, group: 'sizing' })),
  ]
}

/** The one with this key. Throws what there is instead. */
export function subjectOf(all: readonly Subject[], key: string): Subject {
  const subject = all.find(({ info }) => info.key === key)
  if (subject) return subject
  throw new Error(`there is no subject "${key}"; there are ${all.map(({ info }) => info.key).join(', ')}, and --peer adds others`)
}
