/**
 * Forward auth by real auth servers, configured as docs/forward-auth tells. The servers are not part of this project: each
 * test runs where an environment variable names the program, and is skipped elsewhere.
 */
import { once } from 'node:events'
import { type IncomingHttpHeaders, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { DOMAIN, authServers } from './authServers.ts'
import { Browser } from './browser.ts'
import { acmeEnvironment, buildPebble } from './pebble.ts'
import { Stack, certified } from './stack.ts'

const BUILD_AND_TEST_MS = 600_000

describe.for(authServers)('$name', ({ variable, identity, password, forged, prepare }) => {
  it(
    'logs people in, tells the upstream who they are, and closes this service alone when it is gone',
    async ({ skip }) => {
      const program = process.env[variable] ?? skip(`set ${variable} to the path of the program`)

      const seen: { url: string | undefined; headers: IncomingHttpHeaders }[] = []
      const upstream = createServer(({ url, headers }, response) => {
        seen.push({ url, headers })
        response.end('the page')
      }).listen(0, '127.0.0.1')
      onTestFinished(() => void upstream.close())
      await once(upstream, 'listening')
      const address = `127.0.0.1:${(upstream.address() as AddressInfo).port}`
      const labFlags = ['--acme-server', await buildPebble()]
      const stack = await Stack.create({ labFlags, env: (lab) => acmeEnvironment(lab) })
      onTestFinished(() => stack.end())
      const server = await prepare(program, stack.directory, address)
      onTestFinished(() => server.end())
      await server.start()
      await stack.configure([...server.services, { name: 'other', upstream: `http://${address}` }], { defaults: {} })
      await stack.startReady()
      await stack.until(certified, 'certificates')
      const target = new URL(`https://wiki.${DOMAIN}/page?q=a%20b`)
      const lies = Object.fromEntries(forged.map((name) => [name, 'root']))

      const stranger = new Browser(stack.lab)
      const { status, location } = await stranger.ask(target, { headers: lies })
      expect([status, location && server.readLoginPage(location)]).toEqual([302, server.loginPage(target)])
      expect((await stranger.ask(target, { headers: { ...lies, accept: 'application/json' } })).status).toBe(401)
      expect(seen).toEqual([])
      if (password) {
        const script = new Browser(stack.lab)
        expect((await script.ask(target, { headers: { ...lies, ...password } })).status).toBe(200)
        expect(seen.at(-1)?.headers).toMatchObject(identity)
      }

      const alice = new Browser(stack.lab)
      const page = await server.logIn(alice, await alice.visit(target))
      expect([page.url.href, page.status, page.body]).toEqual([target.href, 200, 'the page'])
      expect(seen.at(-1)).toMatchObject({ url: '/page?q=a%20b', headers: identity })
      expect((await alice.ask(target, { headers: lies })).status).toBe(200)
      expect(seen.at(-1)?.headers).toMatchObject(identity)
      expect(JSON.stringify(seen.at(-1)?.headers)).not.toContain('root')

      await server.kill()
      const before = seen.length
      expect((await alice.ask(target, { headers: lies })).status).toBe(502)
      expect(seen.length).toBe(before)
      expect((await alice.ask(new URL(`https://other.${DOMAIN}/`))).status).toBe(200)

      await server.start()
      const back = new Browser(stack.lab)
      expect(await server.logIn(back, await back.visit(target))).toMatchObject({ status: 200, body: 'the page' })
    },
    BUILD_AND_TEST_MS,
  )
})
