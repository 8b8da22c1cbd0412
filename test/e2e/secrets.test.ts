/** Secrets in every place that may hold one, real faults that make the programs speak of them, and a look at all that is told. */
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { type IncomingMessage, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Stack, freePort, workerPids } from './stack.ts'

const SECRET = 'hunter2'
let stack: Stack
let prometheusAddr: string
/** Holds a program that the supervisor starts, and what that was given. */
let bin: string

beforeAll(async () => {
  bin = await mkdtemp(join(tmpdir(), 'tsnsrv-bin-'))
  await writeFile(join(bin, 'getconf'), `#!/bin/sh\nenv > ${bin}/environment\necho 100\n`, { mode: 0o755 })
  stack = await Stack.create({
    upstreams: 1,
    env: { PATH: `${bin}:${process.env.PATH ?? ''}`, TS_AUTHKEY: `tskey-auth-${SECRET}`, TS_AUTH_KEY: SECRET },
  })
  prometheusAddr = `127.0.0.1:${String(await freePort())}`
  const key = join(stack.directory, 'key')
  await writeFile(key, `tskey-client-kABC-${SECRET}?baseURL=http://127.0.0.1:9/`)
  const badKey = join(stack.directory, 'badkey')
  await writeFile(badKey, `tskey-client-kABC-${SECRET}?baseURL=http://me:${SECRET}@127.0.0.1:9/?q=${SECRET}`)
  await stack.configure(
    [
      {
        name: 'dead',
        upstream: `http://me:${SECRET}@127.0.0.1:9/p?token=${SECRET}`,
        upstreamHeaders: { Authorization: `Bearer ${SECRET}`, 'X-Key': SECRET },
        responseHeaders: { 'X-Key': SECRET },
        accessLog: true,
      },
      { name: 'authd', upstream: stack.upstream(0), authURL: `http://me:${SECRET}@127.0.0.1:9`, authPath: `/a?key=${SECRET}` },
      { name: 'keyed', upstream: stack.upstream(0), authkeyPath: key, tags: ['tag:web'] },
      { name: 'badly', upstream: stack.upstream(0), authkeyPath: badKey, tags: ['tag:web'] },
    ],
    { prometheusAddr, supervisor: { ...stack.supervisorKeys(), sampleInterval: '100ms' } },
  )
  stack.start()
  await stack.until(
    ({ services }) =>
      ['dead', 'authd'].every((name) => services.some((service) => service.name === name && service.ready)) &&
      ['keyed', 'badly'].every((name) =>
        services.some(
          (service) => (service.name === name && service.message.includes('OAuth')) || service.message.includes('no auth key'),
        ),
      ),
    'two run, and two get no key',
  )
  // The upstream and the auth server are not there: the worker says so, with their URLs.
  expect(await askByName('dead')).toBe(502)
  expect(await askByName('authd')).toBe(502)
})
afterAll(async () => {
  await stack.end()
  await rm(bin, { recursive: true })
})

/** The status of an answer over the tailnet, asked by the service's own name. */
async function askByName(service: string): Promise<number | undefined> {
  const { hostname, port } = new URL(stack.lab.proxyURL)
  const { dnsName } = await stack.service(service)
  const asked = request({ host: hostname, port, path: `http://${dnsName}/x`, headers: { host: dnsName }, agent: false }).end()
  const [response] = (await once(asked, 'response')) as [IncomingMessage]
  response.resume()
  return response.statusCode
}

const running = () => ['--run-dir', stack.runDir]

it.each([
  ['status', () => stack.cli('status', ...running())],
  ['status --json', () => stack.cli('status', '--json', ...running())],
  ['services', () => stack.cli('services', ...running())],
  ['services --json', () => stack.cli('services', '--json', ...running())],
  ['plan', () => stack.cli('plan', '--config', stack.configFile, ...running())],
  ['plan --json', () => stack.cli('plan', '--config', stack.configFile, '--json', ...running())],
  ['logs', () => stack.cli('logs', '-n', '9999', ...running())],
  ['logs --json', () => stack.cli('logs', '-n', '9999', '--json', ...running())],
  ['validate', () => stack.cli('validate', stack.configFile)],
])('%s tells none', async (_command, run) => {
  const { exitCode, stdout, stderr } = await run()
  expect({ exitCode, leaks: (stdout + stderr).includes(SECRET) }, stdout + stderr).toEqual({ exitCode: 0, leaks: false })
  expect(stdout).not.toBe('')
})

it('what failed is told all the same', async () => {
  const { stdout } = await stack.cli('logs', '-n', '9999', ...running())
  expect(stdout).toContain('upstream=http://127.0.0.1:9/p?***')
  expect((await stack.service('dead')).upstream).toBe('http://127.0.0.1:9/p?***')
  expect((await stack.service('keyed')).message).toContain('no auth key for keyed from http://127.0.0.1:9/')
})

it('a reload that is refused tells none, with the line that is wrong', async () => {
  const text = await readFile(stack.configFile, 'utf8')
  await writeFile(
    stack.configFile,
    text.replace('X-Key', 'X Key').replace('authPath', 'authpath').replace('upstream: http://me', 'upstream: htp://me'),
  )
  const { exitCode, stderr } = await stack.cli('reload', ...running())
  expect(exitCode).toBe(2)
  expect(stderr.match(/error:/g)).toHaveLength(3)
  const { configError } = await stack.status()
  await writeFile(stack.configFile, text)
  expect(stderr + configError + (await stack.cli('logs', ...running())).stdout).not.toContain(SECRET)
})

it('metrics and the files of the supervisor hold none', async () => {
  expect(await (await fetch(`http://${prometheusAddr}/metrics`)).text()).not.toContain(SECRET)
  const own = join(stack.stateDir, '.supervisor')
  for (const path of ['state.json', ...(await readdir(join(own, 'logs'))).map((name) => join('logs', name))]) {
    expect(await readFile(join(own, path), 'utf8'), path).not.toContain(SECRET)
  }
})

it('the worker gets none by its arguments or its environment', async () => {
  for (const pid of workerPids(await stack.status())) {
    for (const file of ['cmdline', 'environ']) {
      expect(await readFile(`/proc/${String(pid)}/${file}`, 'utf8'), file).not.toContain(SECRET)
    }
  }
})

it('other programs that the supervisor starts get none by their environment', async () => {
  // pidusage asks getconf for the clock tick at the first sample.
  await expect.poll(() => readFile(join(bin, 'environment'), 'utf8').catch(() => ''), { timeout: 20_000 }).toContain('PATH=')
  expect(await readFile(join(bin, 'environment'), 'utf8')).not.toContain(SECRET)
})
