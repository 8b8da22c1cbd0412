/** The real thing for one test: a lab tailnet, the built supervisor with its workers, and a directory of its own for all. */
import { access, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Options, execa } from 'execa'
import { stringify } from 'yaml'
import * as z from 'zod'
import { type Answer, type Lab, askService, startLab } from '../../demo/lab.ts'
import { endLeftovers } from '../../demo/leftovers.ts'
import type { ServiceView, Status } from '../../shared/api.ts'
import { createAdminClient } from '../../supervisor/effects/adminClient.ts'

const root = join(import.meta.dirname, '..', '..')
/** What `npm run build` makes. */
export const binaries = {
  cli: join(root, 'dist', 'supervisor', 'cli', 'main.js'),
  worker: join(root, 'bin', 'tsnsrv-worker'),
  lab: join(root, 'bin', 'tsnsrv-lab'),
}

/** A service of the configuration: any keys of tsnsrv's YAML. */
export type ServiceKeys = { name: string } & Record<string, unknown>

export interface StackOptions {
  upstreams?: number
  labFlags?: readonly string[]
  shardSize?: number
  /** Environment of the supervisor, beside what it needs to start; given the lab where it depends on that. */
  env?: Record<string, string> | ((lab: Lab) => Record<string, string>)
  /** A command that executes the supervisor in its own place: see hidden.ts. */
  launcher?: readonly string[]
}

/** A supervisor process. */
export interface SupervisorProcess {
  readonly pid: number
  /** Settles with exit code and signal; never rejects. */
  readonly ended: Promise<{ exitCode: number | undefined; signal: string | undefined; stderr: string }>
  kill(signal: NodeJS.Signals): void
}

const Sessions = z.array(z.object({ nodeKey: z.string(), live: z.number(), starts: z.number(), twice: z.number() }))
const Nodes = z.array(z.looseObject({ hostname: z.string(), nodeKey: z.string() }))

export class Stack {
  readonly directory: string
  readonly lab: Lab
  stateDir: string
  readonly runDir: string
  readonly configFile: string
  shardSize: number
  readonly #env: Record<string, string>
  readonly #launcher: readonly string[]
  readonly #running = new Set<SupervisorProcess>()

  private constructor(directory: string, lab: Lab, options: StackOptions) {
    this.directory = directory
    this.lab = lab
    this.stateDir = join(directory, 'state')
    this.runDir = join(directory, 'run')
    this.configFile = join(directory, 'services.yaml')
    this.shardSize = options.shardSize ?? 4
    this.#launcher = options.launcher ?? []
    this.#env = typeof options.env === 'function' ? options.env(lab) : (options.env ?? {})
  }

  /** Starts the lab. Nothing supervises yet. */
  static async create(options: StackOptions = {}): Promise<Stack> {
    await Promise.all(Object.values(binaries).map((path) => access(path))).catch((error: unknown) => {
      throw new Error('run "npm run build" before the end-to-end tests', { cause: error })
    })
    const directory = await mkdtemp(join(tmpdir(), 'tsnsrv-e2e-'))
    const lab = await startLab({ binary: binaries.lab, upstreams: options.upstreams ?? 4, flags: options.labFlags ?? [] })
    return new Stack(directory, lab, options)
  }

  /** Ends everything and checks that nothing of it is left. */
  async end(): Promise<void> {
    for (const supervisor of this.#running) supervisor.kill('SIGKILL')
    await Promise.all([...this.#running].map(({ ended }) => ended))
    await endLeftovers(this.directory)
    await this.lab.stop()
    await rm(this.directory, { recursive: true })
  }

  /** So many services, svc0 to svc<n-1>, each with the lab's upstream of its number. */
  services(count: number): ServiceKeys[] {
    return serviceNames(count).map((name, i) => ({ name, upstream: this.upstream(i) }))
  }

  upstream(i: number): string {
    return this.lab.upstreams[i % this.lab.upstreams.length] ?? ''
  }

  /** The section supervisor: as it is unless a test says more. */
  supervisorKeys(): Record<string, unknown> {
    const { stateDir, runDir, shardSize } = this
    return { controlURL: this.lab.controlURL, stateDir, runDir, shardSize, drainTimeout: '2s' }
  }

  /** Writes the configuration file; more top-level keys may be given. */
  async configure(services: readonly ServiceKeys[], more: Record<string, unknown> = {}): Promise<void> {
    const base = {
      prometheusAddr: 'off',
      supervisor: this.supervisorKeys(),
      defaults: { plaintext: true, listenAddr: ':80' },
    }
    await writeFile(this.configFile, stringify({ ...base, ...more, services }))
  }

  /** Runs `tsnsrv-sup` with these arguments to its end. Never rejects. */
  cli(...args: string[]) {
    return this.cliAs({}, ...args)
  }

  /** The same as another user, which only root may ask for. */
  async cliAs(user: { uid?: number; gid?: number }, ...args: string[]) {
    const { exitCode, stdout, stderr } = await execa(binaries.cli, args, { ...this.#options(), ...user })
    return { exitCode, stdout, stderr }
  }

  /** Starts `tsnsrv-sup start`, and does not wait for anything. */
  start(...args: string[]): SupervisorProcess {
    const [program = '', ...rest] = [...this.#launcher, binaries.cli, 'start', '--config', this.configFile, ...args]
    const child = execa(program, rest, { ...this.#options(), detached: true })
    const ended = child.then(({ exitCode, signal, stderr }) => {
      this.#running.delete(supervisor)
      return { exitCode, signal, stderr }
    })
    const supervisor: SupervisorProcess = { pid: child.pid ?? 0, ended, kill: (signal) => void child.kill(signal) }
    this.#running.add(supervisor)
    return supervisor
  }

  /** Starts a supervisor and waits until all services are ready. */
  async startReady(...args: string[]): Promise<SupervisorProcess> {
    const supervisor = this.start(...args)
    const ended = supervisor.ended.then(({ exitCode, stderr }) => {
      throw new Error(`the supervisor ended with ${String(exitCode)}:\n${stderr}`)
    })
    await Promise.race([this.until(allReady, 'all services ready'), ended])
    // From now on its end is the test's business.
    ended.catch(() => undefined)
    return supervisor
  }

  /** Waits for a status that fulfils the condition, and gives it; fails with the last one seen. */
  async until(condition: (status: Status) => boolean, what: string, timeoutMs = 60_000): Promise<Status> {
    const deadline = Date.now() + timeoutMs
    let last: Status | string = 'no supervisor answered'
    while (Date.now() < deadline) {
      last = await this.status().catch((error: unknown) => String(error))
      if (typeof last !== 'string' && condition(last)) return last
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    throw new Error(`not within ${String(timeoutMs)} ms: ${what}\n${JSON.stringify(last, null, 1)}`)
  }

  async status(): Promise<Status> {
    const client = createAdminClient(this.runDir)
    try {
      return await client.status()
    } finally {
      client.close()
    }
  }

  async service(name: string): Promise<ServiceView> {
    const view = (await this.status()).services.find((service) => service.name === name)
    if (!view) throw new Error(`status has no service ${name}`)
    return view
  }

  /** GET of a path of a service, over the tailnet. */
  ask(service: string, path = '/'): Promise<Answer> {
    return askService(this.lab, service, path)
  }

  /** Which upstream answers, by the name that it gives itself. */
  async whoAnswers(service: string): Promise<string> {
    const { status, body } = await this.ask(service, '/whoami')
    if (status !== 200) throw new Error(`${service} answered ${String(status)}: ${body}`)
    return (JSON.parse(body) as { name: string }).name
  }

  /** The nodes as the control server sees them. */
  async nodes() {
    return Nodes.parse(await this.labAPI('nodes'))
  }

  /** How often each node has run, and how often twice at the same time, as the control server has seen it. */
  async sessions() {
    return Sessions.parse(await this.labAPI('live'))
  }

  /** A call of the lab's own API: see worker/cmd/tsnsrv-lab/admin.go. */
  async labAPI(path: string, method = 'GET'): Promise<unknown> {
    const response = await fetch(`${this.lab.adminURL}/lab/${path}`, { method })
    if (!response.ok) throw new Error(`${path}: ${await response.text()}`)
    return response.json()
  }

  /** Everything that the workers have logged. */
  async workerLog(shard: number): Promise<string> {
    return readFile(join(this.stateDir, '.supervisor', 'logs', `shard-${String(shard)}.log`), 'utf8')
  }

  #options() {
    const env = { PATH: process.env.PATH, ...this.#env }
    return { reject: false, extendEnv: false, env, stdin: 'ignore' } as const satisfies Options
  }
}

/** What Stack.services calls so many services. */
export const serviceNames = (count: number): string[] => Array.from({ length: count }, (_, i) => `svc${String(i)}`)

/** Whether every service has a certificate that has not ended. */
export const certified = ({ services }: Status): boolean =>
  services.every(({ certificate }) => (certificate?.notAfter ?? 0) > Date.now())

export const allReady = (status: Status): boolean =>
  status.phase === 'running' && status.services.length > 0 && status.services.every((service) => service.ready)

/** A port of loopback that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** Whether there is a process with this pid that is more than a zombie. */
export async function isRunning(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${String(pid)}/stat`, 'utf8').catch(() => '')
  return stat !== '' && !/\) [ZX] /.test(stat)
}

export const workerPids = (status: Status): number[] =>
  status.shards.flatMap(({ workerPid }) => (workerPid === null ? [] : [workerPid]))
