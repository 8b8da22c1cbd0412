/** Around both systems: one lab, one upstream and one auth server that remember what they are asked, and the client. */
import { mkdir, readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { once } from 'node:events'
import { execa } from 'execa'
import * as z from 'zod'
import { connectByProxy } from '../e2e/pebble.ts'
import { Stack, freePort } from '../e2e/stack.ts'
import type { Case, Observed } from './case.ts'
import { type Answer, send } from './client.ts'
import { type Names, blank, fill } from './names.ts'
import { Recorder, type Seen } from './recorder.ts'
import type { Running, Subject } from './subject.ts'

const DOMAIN = 'tail-lab.ts.net'
const AUTH_KEY = 'tskey-auth-lab'
const Addresses = z.array(z.looseObject({ hostname: z.string(), addresses: z.array(z.string()) }))

/** By which the nodes of a system join the lab. */
const environmentOf = ({ controlURL }: { controlURL: string }) => ({ TS_URL: controlURL, TS_AUTHKEY: AUTH_KEY })

export class World {
  readonly stack: Stack
  readonly upstream = new Recorder()
  readonly auth = new Recorder()
  /** What the names in cases stand for, for both systems. */
  #names: Names = {}

  private constructor(stack: Stack) {
    this.stack = stack
  }

  static async create(): Promise<World> {
    const world = new World(await Stack.create({ upstreams: 0, labFlags: ['--auth-key', AUTH_KEY], env: environmentOf }))
    await world.#open().catch(async (error: unknown) => {
      await world.end()
      throw error
    })
    return world
  }

  async end(): Promise<void> {
    await Promise.all([this.upstream.close(), this.auth.close()])
    await this.stack.end()
  }

  async #open(): Promise<void> {
    const { directory } = this.stack
    const own = join(directory, 'own')
    await mkdir(own)
    const certificate = await makeCertificate(own)
    const socket = join(own, 'upstream.sock')
    await this.upstream.listenOnSocket(socket)
    const nodes = Addresses.parse(await this.stack.labAPI('nodes'))
    this.#names = {
      directory: own,
      socket,
      upstream: await this.upstream.listen(),
      'tls-upstream': await this.upstream.listen(certificate),
      auth: await this.auth.listen(),
      'tls-auth': await this.auth.listen(certificate),
      nobody: `127.0.0.1:${await freePort()}`,
      peer: nodes.find(({ hostname }) => hostname === 'lab-gateway')?.addresses[0] ?? '',
    }
  }

  /** Starts one system with a service for each of these keys, and waits until all of them can be reached. */
  async start(subject: Subject, keys: readonly string[]): Promise<Stage> {
    const metrics = `127.0.0.1:${await freePort()}`
    const nameOf = (index: number) => `${subject.name}-${index}`
    const names = { ...this.#names, metrics, plain: `${nameOf(0)}.${DOMAIN}` }
    const all = ['', ...keys.filter((own) => own !== '')]
    const services = all.map((own, index) => {
      const stateDir = join(this.stack.directory, subject.name, nameOf(index))
      return `  - { <<: *common, name: ${nameOf(index)}, stateDir: ${stateDir}, ${own} }`
    })
    const file = fill(`prometheusAddr: <metrics>\n${COMMON}services:\n${services.join('\n')}\n`, names)
    const place = { stack: this.stack, environment: environmentOf(this.stack.lab) }
    const running = await subject.start(place, file, services.length)
    return new Stage(this, running, names, (own) => `${nameOf(all.indexOf(own))}.${DOMAIN}`)
  }
}

/** What all services have, unless they say something else. */
const COMMON = 'x-common: &common { upstream: "http://<upstream>", plaintext: true, listenAddr: ":80" }\n'

/** A system that runs in the world. */
export class Stage {
  readonly #world: World
  readonly #running: Running
  readonly #names: Names
  readonly #hostOf: (keys: string) => string

  constructor(world: World, running: Running, names: Names, hostOf: (keys: string) => string) {
    this.#world = world
    this.#running = running
    this.#names = names
    this.#hostOf = hostOf
  }

  stop(): Promise<void> {
    return this.#running.stop()
  }

  /** Does what the case says, and looks at the things that `keys` name; see Observed. */
  async observe(theCase: Case, keys: readonly string[]): Promise<Observed> {
    const host = this.#hostOf(theCase.keys ?? '')
    const names = { service: host, name: host.replace(`.${DOMAIN}`, ''), ...this.#names }
    const blanked = (seen: string | number | null) => (typeof seen === 'string' ? blank(seen, names) : seen)
    const sees = keys.some((key) => !key.startsWith('/')) ? await this.#exchange(theCase, host, names) : undefined
    const observed: [string, string | number | null][] = []
    for (const key of keys) {
      if (key.startsWith('/')) {
        const { answer, upstream } = await this.#exchange({ ...theCase, send: { ...theCase.send, path: key } }, host, names)
        observed.push([key, blanked(upstream.at(-1)?.url ?? answer.status)])
      } else if (key.startsWith('log ')) observed.push([key, await this.#isLogged(key.slice('log '.length))])
      else if (sees) observed.push([key, blanked(look(sees, key))])
    }
    return Object.fromEntries(observed)
  }

  async #exchange({ send: asked = {}, ...replies }: Case, host: string, names: Names): Promise<Exchange> {
    const { upstream, auth, stack } = this.#world
    const filled = JSON.parse(fill(JSON.stringify({ asked, ...replies }), names)) as Pick<Case, 'upstream' | 'auth'> & {
      asked: typeof asked
    }
    upstream.expect(...(filled.upstream ? [filled.upstream] : []))
    auth.expect(...(filled.auth ? [filled.auth] : []))
    const answer = await send(await this.#connect(asked.to ?? 80, host, stack), host, filled.asked)
    return { answer, upstream: upstream.seen, auth: auth.seen }
  }

  async #connect(to: number | 'metrics', host: string, { lab }: Stack) {
    if (to !== 'metrics') return connectByProxy(lab, `${host}:${to}`, AbortSignal.timeout(20_000))
    const socket = connect(Number(this.#names.metrics?.split(':')[1]), '127.0.0.1')
    await once(socket, 'connect')
    return socket
  }

  async #isLogged(text: string): Promise<'written' | null> {
    return (await this.#running.log()).includes(text) ? 'written' : null
  }
}

/** One request, from all sides. */
interface Exchange {
  readonly answer: Answer
  readonly upstream: readonly Seen[]
  readonly auth: readonly Seen[]
}

function look({ answer, upstream, auth }: Exchange, key: string): string | number | null {
  const [side = '', what] = key.split(' ')
  if (side === 'status') return answer.status
  if (side === 'body') return answer.body.trim()
  if (side === 'client') return headerOf(answer.headers, what ?? '')
  const seen = side === 'upstream' ? upstream : auth
  if (what === undefined) return seen.map(({ url }) => url).join(', ') || null
  const last = seen.at(-1)
  if (what === 'method' || what === 'body') return last?.[what] ?? null
  return headerOf(last?.headers ?? {}, what)
}

function headerOf(headers: Seen['headers'], name: string): string | null {
  if (!name.endsWith('*')) return headers[name]?.join(', ') ?? null
  const found = Object.keys(headers).filter((each) => each.startsWith(name.slice(0, -1)))
  return found.sort().join(', ') || null
}

async function makeCertificate(directory: string): Promise<{ cert: Buffer; key: Buffer }> {
  const { stdout: goRoot } = await execa('go', ['env', 'GOROOT'])
  const program = join(goRoot, 'src/crypto/tls/generate_cert.go')
  await execa('go', ['run', program, '--host', '127.0.0.1', '--ecdsa-curve', 'P256'], { cwd: directory })
  const [cert, key] = await Promise.all(['cert.pem', 'key.pem'].map((name) => readFile(join(directory, name))))
  return { cert: cert as Buffer, key: key as Buffer }
}
