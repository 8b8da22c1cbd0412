/**
 * Real applications behind the real system, driven by their own clients over the tailnet and https: which of them work with
 * tsnsrv's defaults, what the others say, by which key they work, and that the log of the worker names it by itself. What is
 * seen here is what docs/applications.md says.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import * as z from 'zod'
import { acmeEnvironment, buildPebble } from '../e2e/pebble.ts'
import { Stack, certified } from '../e2e/stack.ts'
import { type Application, Applications, applications, whyNoApplications } from './applications.ts'
import { installedPython } from './python.ts'

const DOMAIN = 'tail-lab.ts.net'
const USER = 'Étienne Robert'

/** One application with some keys of its service, and what its client sees. */
interface Trial {
  application: Application
  /** Names the service as well. */
  name: string
  keys?: Record<string, unknown>
  /** A function of python/clients.py. */
  client: string
  /** <url> is that of the service, <address> that of the upstream. */
  sees: Record<string, unknown>
  /** What the worker logs of it, once; nothing where it works or the worker cannot know. */
  logs?: RegExp
}

const keepsHost = { recommendedProxyHeaders: true }
const DATA = 'hello '.length * 100_000
const TALK = { unary: 'hello', trailer: '5', talk: ['ONE', 'TWO', 'THREE'] }
const S3 = { get: 'hello', presigned: 'hello' }
const MOVED = { listed: ['b ü.txt'], read: 'hello' }

const trials: Trial[] = [
  { application: 'starlette', name: 'websocket', client: 'websocket', sees: { displayName: USER } },
  {
    application: 'starlette',
    name: 'slash',
    client: 'redirect',
    sees: { location: 'https://<address>/docs/' },
    logs: /redirects clients to its own address.*set recommendedProxyHeaders: true/,
  },
  { application: 'starlette', name: 'slash-host', keys: keepsHost, client: 'redirect', sees: { location: '<url>/docs/' } },
  {
    application: 'starlette in a container',
    name: 'slash-container',
    keys: keepsHost,
    client: 'redirect',
    sees: { location: `http://slash-container.${DOMAIN}/docs/` },
    logs: /redirects clients of https to http.*have the application believe X-Forwarded-Proto/,
  },
  {
    application: 'django',
    name: 'django',
    client: 'form',
    sees: { get: 400 },
    logs: /refuses the name that it is sent in Host.*set recommendedProxyHeaders: true/,
  },
  { application: 'django', name: 'django-host', keys: keepsHost, client: 'form', sees: { get: 200, post: 200 } },
  {
    application: 'django',
    name: 'django-other',
    // Any Host can be sent: it is that of upstream, whatever is dialled.
    keys: { upstream: 'http://site.internal', upstreamTCPAddr: '<address>' },
    client: 'form',
    sees: { get: 200, post: 403 },
    logs: /refuses a form of its own pages/,
  },
  {
    application: 'django for any host',
    name: 'django-any',
    client: 'form',
    sees: { get: 200, post: 403 },
    logs: /refuses a form of its own pages.*set recommendedProxyHeaders: true/,
  },
  { application: 'django for any host', name: 'django-any-host', keys: keepsHost, client: 'form', sees: { get: 200, post: 200 } },
  // The Host is right and the scheme is not, which a form that was refused does not show.
  {
    application: 'django in a container',
    name: 'django-container',
    keys: keepsHost,
    client: 'form',
    sees: { get: 200, post: 403 },
  },
  {
    application: 'django in a container, with SECURE_PROXY_SSL_HEADER',
    name: 'django-believing',
    keys: keepsHost,
    client: 'form',
    sees: { get: 200, post: 200 },
  },
  {
    application: 'jupyter',
    name: 'jupyter',
    client: 'jupyter',
    sees: { page: 200, webSocket: 403 },
    logs: /refuses a WebSocket of its own pages.*set recommendedProxyHeaders: true/,
  },
  // It says "Forbidden" and no more, so the worker cannot know.
  { application: 'jupyter', name: 'jupyter-host', keys: keepsHost, client: 'jupyter', sees: { page: 403 } },
  {
    application: 'jupyter for remote access',
    name: 'jupyter-remote',
    keys: keepsHost,
    client: 'jupyter',
    sees: { page: 200, webSocket: 101 },
  },
  { application: 'registry', name: 'registry', client: 'registry', sees: { pulled: DATA } },
  { application: 'registry', name: 'registry-host', keys: keepsHost, client: 'registry', sees: { pulled: DATA } },
  {
    application: 's3',
    name: 's3',
    client: 's3',
    sees: { refused: 'SignatureDoesNotMatch' },
    logs: /refuses signatures.*set recommendedProxyHeaders: true/,
  },
  { application: 's3', name: 's3-host', keys: keepsHost, client: 's3', sees: S3 },
  { application: 'wsgidav', name: 'webdav', client: 'webdav', sees: MOVED },
  { application: 'wsgidav', name: 'webdav-host', keys: keepsHost, client: 'webdav', sees: MOVED },
  {
    application: 'grpc',
    name: 'grpc-http',
    client: 'grpc',
    sees: { code: 'UNAVAILABLE' },
    logs: /let upstream: begin with h2c:\/\//,
  },
  { application: 'grpc', name: 'grpc-h2c', keys: { upstream: 'h2c://<address>' }, client: 'grpc', sees: TALK },
  { application: 'syncthing', name: 'syncthing', client: 'page', sees: { get: 200 } },
  {
    application: 'syncthing',
    name: 'syncthing-host',
    keys: keepsHost,
    client: 'page',
    sees: { get: 403 },
    logs: /refuses the name that clients ask for.*remove recommendedProxyHeaders:/,
  },
]

const Line = z.looseObject({ level: z.string(), msg: z.string(), service: z.string().optional() })

let python: string
let stack: Stack | undefined
let running: Applications | undefined

const noApplications = await whyNoApplications()

beforeAll(async () => {
  if (noApplications !== undefined) return
  const [pebble, installed] = await Promise.all([buildPebble(), installedPython()])
  python = installed
  const labFlags = ['--acme-server', pebble, '--user-name', USER]
  stack = await Stack.create({ upstreams: 0, shardSize: trials.length, labFlags, env: acmeEnvironment })
  running = await Applications.start(python, join(stack.directory, 'applications'))
  await stack.configure(trials.map(serviceOf), { defaults: {} })
  await stack.startReady()
  await stack.until(certified, 'certificates')
}, 600_000)

afterAll(async () => {
  await running?.[Symbol.asyncDispose]()
  await stack?.end()
})

function serviceOf({ application, name, keys }: Trial) {
  const service = { upstream: 'http://<address>', ...keys }
  const text = JSON.stringify({ ...service, name }).replaceAll('<address>', running?.address(application) ?? '')
  return JSON.parse(text) as { name: string } & Record<string, unknown>
}

/** Runs a client as a program of somebody on the tailnet. */
async function drive({ client, name }: Trial): Promise<unknown> {
  const { proxyURL, acmeRootFile = '' } = stack!.lab
  const trusted = { SSL_CERT_FILE: acmeRootFile, REQUESTS_CA_BUNDLE: acmeRootFile, AWS_CA_BUNDLE: acmeRootFile }
  const env = { PATH: process.env.PATH, HOME: stack!.directory, TMPDIR: stack!.directory, https_proxy: proxyURL, ...trusted }
  const args = [join(import.meta.dirname, 'python', 'clients.py'), client, `https://${name}.${DOMAIN}`]
  const { stdout } = await execa(python, args, { env: { ...env, PYTHONDONTWRITEBYTECODE: '1' }, extendEnv: false })
  return JSON.parse(stdout)
}

/** The lines about a service in the log of the worker that say what to do. */
async function advice(service: string): Promise<string[]> {
  const text = await readFile(join(stack!.stateDir, '.supervisor', 'logs', 'shard-1-requests.log'), 'utf8').catch(() => '')
  const lines = text.split('\n').filter((line) => line.startsWith('{') && Line.parse(JSON.parse(line)).service === service)
  return lines.filter((line) => line.includes('"remedy"'))
}

const name = `over the tailnet${noApplications === undefined ? '' : ` (${noApplications})`}`
describe.skipIf(noApplications !== undefined)(name, () => {
  it.each(trials)('$application, as $name: $client', async (trial) => {
    const { application, name, sees, logs } = trial
    const expected = JSON.stringify(sees)
      .replaceAll('<address>', running!.address(application))
      .replaceAll('<url>', `https://${name}.${DOMAIN}`)
    expect(await drive(trial)).toEqual(JSON.parse(expected))
    expect(await advice(name)).toEqual(logs ? [expect.stringMatching(logs)] : [])
  })
})

it('docs/applications.md tells of each application and each line of the log', async () => {
  const docs = await readFile(join(import.meta.dirname, '..', '..', 'docs', 'applications.md'), 'utf8')
  expect(new Set(trials.map(({ application }) => application))).toEqual(new Set(applications))
  expect(applications.map((name) => name.split(' ')[0]!).filter((name) => !docs.toLowerCase().includes(name))).toEqual([])
  const lines = trials.flatMap(({ logs }) => logs?.source.replaceAll('\\', '').split('.*') ?? [])
  expect(lines.filter((line) => !docs.includes(line))).toEqual([])
})
