import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as z from 'zod'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { parse } from 'yaml'
import { openAPI } from '../../scripts/openAPI.ts'
import { ServiceDiscovery, ServiceEntry, Summary } from '../../shared/api.ts'
import { type AdminServer, startAdminServer } from '../../supervisor/api/adminServer.ts'
import { type MetricsServer, startMetricsServer } from '../../supervisor/api/metrics.ts'
import { adminSocketPath } from '../../supervisor/effects/adminClient.ts'
import { FakeOperator, serviceView, shardView, statusOf } from '../cli/fakeOperator.ts'
import { result } from '../cli/terminal.ts'

const SECRET = 'https://login.example/a/secret'
const operator = new FakeOperator(
  statusOf(
    [
      serviceView('photos', { group: 'Media', errors: 2, problems: [{ part: 'upstream', message: 'it is down' }] }),
      serviceView('wiki'),
      serviceView('new', { ready: false, phase: 'needsLogin', loginURL: SECRET, url: '', message: `open ${SECRET}` }),
    ],
    { shards: [shardView(1), shardView(2, { cpuPercent: null, memoryBytes: null })] },
  ),
)
let stateDir: string
let server: MetricsServer
let admin: AdminServer

beforeEach(async () => {
  stateDir = mkdtempSync(join(tmpdir(), 'li-'))
  admin = await startAdminServer({ socketPath: adminSocketPath(join(stateDir, '.supervisor', 'run')), operator })
  server = await startMetricsServer({ addr: '127.0.0.1:0', operator })
})
afterEach(async () => {
  await Promise.all([server.close(), admin.close()])
  rmSync(stateDir, { recursive: true })
})

async function ask<T extends z.ZodType>(path: string, schema: T): Promise<z.infer<T>> {
  const response = await fetch(`http://${server.addr}${path}`)
  expect(response.headers.get('content-type')).toBe('application/json')
  const text = await response.text()
  expect(text).not.toContain(SECRET)
  return schema.parse(JSON.parse(text))
}

it('sums up', async () => {
  const summary = await ask('/api/summary', Summary)
  expect(summary).toMatchObject({
    total: 3,
    ready: 2,
    unready: 1,
    needsLogin: 1,
    problems: 1,
    shards: 2,
    cpuPercent: 1.3,
    errors: 2,
  })
})

it('lists services, without the URL of a login', async () => {
  expect(await ask('/api/services', z.array(ServiceEntry))).toMatchObject([
    { name: 'photos', state: 'problem', message: 'upstream: it is down', group: 'Media' },
    { name: 'wiki', state: 'ready', message: '' },
    { name: 'new', state: 'unready', message: 'Its node waits for a login.' },
  ])
})

it('names targets for Prometheus', async () => {
  expect(await ask('/api/sd', ServiceDiscovery)).toEqual([
    { targets: ['http://photos.example.ts.net/'], labels: { service: 'photos', group: 'Media' } },
    { targets: ['http://wiki.example.ts.net/'], labels: { service: 'wiki' } },
  ])
})

it('does not answer another site, nor a POST', async () => {
  expect((await fetch(`http://${server.addr}/api/services`, { method: 'POST' })).status).toBe(405)
  expect((await fetch(`http://${server.addr}/api/status`)).status).toBe(404)
})

it.each([
  ['homepage', [{ Media: [{ photos: { href: 'http://photos.example.ts.net/' } }] }, { Tailnet: [{ wiki: {} }] }]],
  [
    'glance',
    {
      pages: [
        { columns: [{ widgets: [{ type: 'monitor', title: 'Media', sites: [{ title: 'photos' }] }, { title: 'Tailnet' }] }] },
      ],
    },
  ],
  [
    'gatus',
    {
      endpoints: [
        { name: 'photos', group: 'Media', conditions: ['[STATUS] < 500'] },
        { name: 'wiki', group: 'Tailnet' },
      ],
    },
  ],
  ['autokuma', { photos: { type: 'http', url: 'http://photos.example.ts.net/' }, wiki: { name: 'wiki' } }],
])('exports for %s', async (program, expected) => {
  const { exitCode, stdout } = await result('export', program, '--state-dir', stateDir)
  expect(exitCode).toBe(0)
  expect(parse(stdout)).toMatchObject(expected)
})

it('describes every order and schema once', () => {
  const { paths, components } = openAPI()
  const text = JSON.stringify(paths)
  const refs = [...text.matchAll(/#\/components\/schemas\/(\w+)/g)].map(([, name = '']) => name)
  expect(refs.filter((name) => !(name in components.schemas))).toEqual([])
  expect(Object.keys(paths)).toEqual(expect.arrayContaining(['/v1/move', '/v1/events/services/{name}', '/api/sd']))
})
