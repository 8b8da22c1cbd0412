/** Real applications, each started as its documentation says, on a port of loopback. */
import { connect } from 'node:net'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { execa } from 'execa'
import { stringify } from 'yaml'
import { freePort } from '../e2e/stack.ts'

const SITES = join(import.meta.dirname, 'python')
const START_TIMEOUT_MS = 60_000

interface Place {
  /** An interpreter with the packages. */
  python: string
  /** Where the application may write; nothing is there yet. */
  directory: string
  port: number
}

interface Command {
  program: string
  args: readonly string[]
  env?: Record<string, string>
}

const uvicorn = ({ python, port }: Place, site: string, ...more: string[]): Command => ({
  program: python,
  args: ['-m', 'uvicorn', '--app-dir', SITES, '--port', String(port), ...more, `${site}:application`],
})

/** uvicorn believes X-Forwarded-Proto of 127.0.0.1 only, and into a container nobody comes from there. */
const CONTAINER = ['--forwarded-allow-ips', '192.0.2.1']

const jupyter = ({ python, directory, port }: Place, ...more: string[]): Command => ({
  program: python,
  args: ['-m', 'jupyter_server', '--allow-root', `--port=${port}`, '--port-retries=0', `--ServerApp.root_dir=${directory}`]
    .concat('--IdentityProvider.token=secret')
    .concat(more),
  env: { JUPYTER_PLATFORM_DIRS: '1' },
})

/** How each is started. Those that listen on all addresses by themselves are told to keep to loopback. */
const commands = {
  starlette: (place) => uvicorn(place, 'starlette_site'),
  'starlette in a container': (place) => uvicorn(place, 'starlette_site', ...CONTAINER),
  django: (place) => ({
    ...uvicorn(place, 'django_site'),
    env: { ALLOWED_HOSTS: '.tail-lab.ts.net,site.internal' },
  }),
  'django for any host': (place) => ({ ...uvicorn(place, 'django_site'), env: { ALLOWED_HOSTS: '*' } }),
  'django in a container': (place) => ({ ...uvicorn(place, 'django_site', ...CONTAINER), env: { ALLOWED_HOSTS: '*' } }),
  'django in a container, with SECURE_PROXY_SSL_HEADER': (place) => ({
    ...uvicorn(place, 'django_site', ...CONTAINER),
    env: { ALLOWED_HOSTS: '*', BELIEVE_PROXY: 'yes' },
  }),
  jupyter: (place) => jupyter(place),
  'jupyter for remote access': (place) => jupyter(place, '--ServerApp.allow_remote_access=True'),
  registry: async ({ directory, port }) => {
    const file = join(directory, 'config.yml')
    const storage = { filesystem: { rootdirectory: join(directory, 'blobs') } }
    await writeFile(file, stringify({ version: 0.1, storage, http: { addr: `127.0.0.1:${port}`, secret: 'of this test' } }))
    return { program: 'docker-registry', args: ['serve', file] }
  },
  s3: ({ python, directory, port }) => ({
    program: join(python, '..', 'rclone'),
    args: ['serve', 's3', '--config', '', '--addr', `127.0.0.1:${port}`].concat(
      '--auth-key',
      'anAccessKeyOfTests,aSecretKeyOfTheseTests',
      directory,
    ),
  }),
  wsgidav: ({ python, directory, port }) => ({
    program: python,
    args: ['-m', 'wsgidav.server.server_cli', '--host=127.0.0.1', `--port=${port}`, `--root=${directory}`].concat(
      '--auth=anonymous',
      '--no-config',
    ),
  }),
  grpc: ({ python, port }) => ({ program: python, args: [join(SITES, 'grpc_server.py'), String(port)] }),
  syncthing: ({ directory, port }) => ({
    program: 'syncthing',
    args: ['serve', '--no-browser', '--no-restart', '--no-default-folder', `--home=${directory}`].concat(
      `--gui-address=127.0.0.1:${port}`,
    ),
    env: { STNOUPGRADE: '1' },
  }),
} satisfies Record<string, (place: Place) => Command | Promise<Command>>

export type Application = keyof typeof commands
export const applications = Object.keys(commands) as Application[]

/** Why they cannot be started here; undefined when they can. */
export async function whyNoApplications(): Promise<string | undefined> {
  const venv = await execa('python3', ['-c', 'import venv, ensurepip'], { reject: false })
  if (venv.failed) return 'needs python3 with venv (apt install python3-venv)'
  const installed = await Promise.all(['docker-registry', 'syncthing'].map((name) => execa('which', [name], { reject: false })))
  return installed.some(({ failed }) => failed) ? 'needs apt install docker-registry syncthing' : undefined
}

export class Applications implements AsyncDisposable {
  readonly #running: { kill: (signal: 'SIGKILL') => boolean; ended: Promise<unknown> }[] = []
  readonly #ports = new Map<Application, number>()

  /** Starts all of them, and waits until each listens. */
  static async start(python: string, directory: string): Promise<Applications> {
    const started = new Applications()
    await Promise.all(applications.map((name) => started.#start(name, python, join(directory, name)))).catch(
      async (error: unknown) => {
        await started[Symbol.asyncDispose]()
        throw error
      },
    )
    return started
  }

  /** host:port where it listens. */
  address(name: Application): string {
    return `127.0.0.1:${this.#ports.get(name)}`
  }

  async #start(name: Application, python: string, directory: string): Promise<void> {
    await mkdir(directory, { recursive: true })
    const port = await freePort()
    const { program, args, env = {} }: Command = await commands[name]({ python, directory, port })
    const base = { PATH: process.env.PATH, HOME: directory, TMPDIR: directory, PYTHONDONTWRITEBYTECODE: '1' }
    const options = {
      env: { ...base, ...env },
      extendEnv: false,
      reject: false,
      all: true,
      cwd: directory,
      stdin: 'ignore',
    } as const
    const child = execa(program, args, options)
    this.#ports.set(name, port)
    const ended = child.then(({ all, shortMessage }) => {
      throw new Error(`${name} has ended: ${shortMessage ?? ''}\n${all}`)
    })
    const settled = ended.catch(() => undefined) // later its end is no concern
    this.#running.push({ kill: (signal) => child.kill(signal), ended: settled })
    await Promise.race([listens(port, name), ended])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { kill } of this.#running) kill('SIGKILL')
    await Promise.all(this.#running.map(({ ended }) => ended))
  }
}

async function listens(port: number, name: string): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS
  while (Date.now() < deadline) {
    const socket = connect({ port, host: '127.0.0.1' })
    const connected = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (connected) return
    await delay(50)
  }
  throw new Error(`${name} does not listen`)
}
