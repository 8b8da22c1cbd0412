/** Authelia and oauth2-proxy, each started as docs/forward-auth tells, with alice as the only one who can log in. */
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { execa } from 'execa'
import { parse, stringify } from 'yaml'
import * as z from 'zod'
import type { Browser, Page } from './browser.ts'
import { buildGoTool } from './goTool.ts'
import { type ServiceKeys, freePort } from './stack.ts'

/** The tailnet of the lab. */
export const DOMAIN = 'tail-lab.ts.net'

const pages = join(import.meta.dirname, '..', '..', 'docs', 'forward-auth')

/** An auth server that is installed on this machine. */
export interface AuthServer {
  name: string
  /** Names the program in the environment. */
  variable: string
  /** What the upstream is to be told of alice. */
  identity: Record<string, string>
  /** By which headers a program says that it is alice, if the server takes any. */
  password?: Record<string, string>
  /** Headers that only the auth server may set, and those that upstreams are known to believe. */
  forged: string[]
  /** Makes it ready to be started, with its files in a directory. `upstream` is host and port. */
  prepare: (program: string, directory: string, upstream: string) => Promise<PreparedServer>
}

interface PreparedServer {
  /** The services of the page: one is called wiki and is protected. */
  services: ServiceKeys[]
  /** Starts the server, and waits until it answers. */
  start(): Promise<void>
  /** Kills the server. */
  kill(): Promise<void>
  /** Ends it, and what runs beside it. */
  end(): Promise<void>
  /** The address of the login page with the way back to `target`, and nothing else that could differ. */
  loginPage(target: URL): string
  /** The same of a redirect. */
  readLoginPage(location: URL): string
  /** Logs alice in at the page that a browser was sent to, and gives the page that it is then sent to. */
  logIn(browser: Browser, page: Page): Promise<Page>
}

export const authServers: AuthServer[] = [
  {
    name: 'Authelia',
    variable: 'TSNSRV_TEST_AUTHELIA',
    identity: {
      'remote-user': 'alice',
      'remote-name': 'Alice',
      'remote-email': 'alice@example.com',
      'remote-groups': 'editors,readers',
    },
    password: { authorization: `Basic ${Buffer.from('alice:secret').toString('base64')}` },
    forged: ['Remote-User', 'remote_user', 'Remote-Groups', 'Remote-Email', 'Remote-Name', 'X-Forwarded-User'],
    prepare: prepareAuthelia,
  },
  {
    name: 'oauth2-proxy',
    variable: 'TSNSRV_TEST_OAUTH2_PROXY',
    identity: { 'x-auth-request-user': 'id-of-alice', 'x-auth-request-email': 'alice@example.com' },
    forged: ['X-Auth-Request-User', 'x_auth_request_user', 'X-Auth-Request-Email', 'X-Auth-Request-Groups', 'X-Forwarded-User'],
    prepare: prepareOAuth2Proxy,
  },
]

async function prepareAuthelia(program: string, directory: string, upstream: string): Promise<PreparedServer> {
  const address = `127.0.0.1:${await freePort()}`
  const blocks = await readBlocks('authelia', { '127.0.0.1:9091': address, '127.0.0.1:8080': upstream })
  const page = z
    .object({ session: z.looseObject({}) })
    .loose()
    .parse(parse(blocks[1] ?? ''))
  const hashing = ['crypto', 'hash', 'generate', 'sha2crypt', '--iterations', '1000', '--no-confirm', '--password', 'secret']
  const { stdout: hashed } = await execa(program, hashing)
  const users = join(directory, 'users.yml')
  const alice = { displayname: 'Alice', email: 'alice@example.com', groups: ['editors', 'readers'] }
  await writeFile(users, stringify({ users: { alice: { ...alice, password: hashed.replace('Digest: ', '') } } }))
  const config = join(directory, 'authelia.yml')
  const secret = 'a secret of this test alone'
  const complete = {
    ...page,
    session: { ...page.session, secret },
    server: { address: `tcp://${address}` },
    authentication_backend: { file: { path: users } },
    storage: { encryption_key: secret, local: { path: join(directory, 'authelia.db') } },
    notifier: { filesystem: { filename: join(directory, 'mail.txt') } },
    identity_validation: { reset_password: { jwt_secret: secret } },
    ntp: { disable_startup_check: true },
  }
  await writeFile(config, stringify(complete))
  const portal = `https://auth.${DOMAIN}`
  const server = restartable(program, ['--config', config], `http://${address}/api/health`)
  return {
    ...server,
    end: server.kill,
    services: readServices(blocks[0]),
    loginPage: (target) => `${portal}/ for GET ${target.href}`,
    readLoginPage: ({ origin, pathname, searchParams }) =>
      `${origin}${pathname} for ${searchParams.get('rm') ?? ''} ${searchParams.get('rd') ?? ''}`,
    async logIn(browser, page) {
      // What the page's script sends when the form is submitted.
      const form = { username: 'alice', password: 'secret', targetURL: page.url.searchParams.get('rd'), requestMethod: 'GET' }
      const answer = await browser.ask(new URL(`${portal}/api/firstfactor`), {
        method: 'POST',
        headers: { accept: 'application/json', 'content-type': 'application/json' },
        body: JSON.stringify(form),
      })
      const { data } = z.object({ data: z.object({ redirect: z.url() }) }).parse(JSON.parse(answer.body))
      return browser.visit(new URL(data.redirect))
    },
  }
}

async function prepareOAuth2Proxy(program: string, _directory: string, upstream: string): Promise<PreparedServer> {
  const address = `127.0.0.1:${await freePort()}`
  const callback = `https://wiki.${DOMAIN}/oauth2/callback`
  const provider = execa(await buildGoTool('openid'), ['-callback', callback], { stdin: 'pipe', reject: false })
  const [line] = (await once(createInterface({ input: provider.stdout }), 'line')) as [string]
  const { issuer } = z.object({ issuer: z.string() }).parse(JSON.parse(line))
  const [command = '', services] = await readBlocks('oauth2-proxy', { '127.0.0.1:4180': address, '127.0.0.1:8080': upstream })
  const own = ['--provider=oidc', `--oidc-issuer-url=${issuer}`, '--client-id=web', '--client-secret=secret', '--email-domain=*']
  const recommended = command.split(/[\s\\]+/).filter((word) => word.startsWith('--'))
  const server = restartable(program, [...recommended, ...own, `--cookie-secret=${'x'.repeat(32)}`], `http://${address}/ping`)
  return {
    ...server,
    async end() {
      await server.kill()
      provider.stdin.end()
      await provider
    },
    services: readServices(services),
    loginPage: (target) => `${issuer}auth by ${callback} for ${target.pathname}${target.search}`,
    readLoginPage: ({ origin, pathname, searchParams }) => {
      const [, ...target] = (searchParams.get('state') ?? '').split(':')
      return `${origin}${pathname} by ${searchParams.get('redirect_uri') ?? ''} for ${target.join(':')}`
    },
    logIn: (browser, page) =>
      browser.visit(new URL('/login/username', page.url), {
        method: 'POST',
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        body: new URLSearchParams({
          id: page.url.searchParams.get('authRequestID') ?? '',
          username: 'alice',
          password: 'secret',
        }).toString(),
      }),
  }
}

/** The fenced blocks of a page, with other addresses and the tailnet of the lab. */
async function readBlocks(page: string, addresses: Record<string, string>): Promise<string[]> {
  const markdown = await readFile(join(pages, `${page}.md`), 'utf8')
  const blocks = [...markdown.matchAll(/^```\w*\n(.*?)^```/gms)].map(([, block = '']) => block)
  const places = Object.entries({ ...addresses, '<tailnet>.ts.net': DOMAIN })
  return blocks.map((block) => places.reduce((text, [place, actual]) => text.replaceAll(place, actual), block))
}

function readServices(block = ''): ServiceKeys[] {
  return z.object({ services: z.array(z.looseObject({ name: z.string() })) }).parse(parse(block)).services
}

/** A server that can be killed and started again. It answers when `health` does. */
function restartable(program: string, args: string[], health: string): Pick<PreparedServer, 'start' | 'kill'> {
  let kill = () => Promise.resolve()
  return {
    async start() {
      const running = execa(program, args, { reject: false, all: true, stdin: 'ignore' })
      kill = async () => {
        running.kill('SIGKILL')
        await running
      }
      while (!(await answers(health))) {
        if (running.exitCode !== null) throw new Error(`${program} has ended:\n${(await running).all}`)
        await delay(50)
      }
    },
    kill: () => kill(),
  }
}

const answers = (url: string): Promise<boolean> =>
  fetch(url).then(
    ({ ok }) => ok,
    () => false,
  )
