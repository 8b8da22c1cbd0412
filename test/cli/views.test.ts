/** What people see: the pure views. */
import pc from 'picocolors'
import { describe, expect, it } from 'vitest'
import { formatDuration, formatTable } from '../../supervisor/cli/format.ts'
import type { PlannedChange } from '../../shared/api.ts'
import { renderPlan } from '../../supervisor/cli/plan.ts'
import { renderProgress } from '../../supervisor/cli/progress.ts'
import { describeChanges, renderStatus } from '../../supervisor/cli/statusView.ts'
import { colorsFor } from '../../supervisor/cli/terminal.ts'
import { renderUnsupervised, summarizeUnsupervised } from '../../supervisor/cli/unsupervisedView.ts'
import { viewOrphan } from '../../supervisor/core/orphans.ts'
import { serviceView, shardView, statusOf } from './fakeOperator.ts'
import { CapturedOutput } from './terminal.ts'

const colors = pc.createColors(false)
const now = 1_000_000 + 3_723_000

describe('formatting', () => {
  it.each([
    [0, '0s'],
    [999, '0s'],
    [59_999, '59s'],
    [60_000, '1m'],
    [3_723_000, '1h 2m'],
    [90_000_000, '1d 1h'],
  ])('%i ms is %s', (ms, text) => {
    expect(formatDuration(ms)).toBe(text)
  })

  it('cuts only the last column of a table', () => {
    expect(
      formatTable(
        [
          ['name', 'a long message'],
          ['longer name', 'short'],
        ],
        20,
      ),
    ).toEqual(['name         a long…', 'longer name  short'])
  })
})

describe('renderStatus', () => {
  const waiting = serviceView('wiki', {
    ...{ phase: 'needsLogin', ready: false, reason: 'NeedsLogin', message: 'log in at the URL' },
    ...{ loginURL: 'https://login.tailscale.com/a/0123456789abcdef', addresses: [], dnsName: '' },
  })

  it('puts login URLs on top, whole, however narrow the terminal', () => {
    const lines = renderStatus(statusOf([serviceView('blog'), waiting]), { colors, now, columns: 40 }).split('\n')
    expect(lines.slice(3, 5)).toEqual(['To log in, open:', '  wiki  https://login.tailscale.com/a/0123456789abcdef'])
  })

  it('shows a refused configuration, and when a failed service is tried again', () => {
    const failed = serviceView('blog', { phase: 'failed', ready: false, message: 'auth key refused', retryAt: now + 5000 })
    const text = renderStatus(statusOf([failed], { configError: 'services.yaml:3:5: no such key\n  3 | nam\u001b[2J' }), {
      colors,
      now,
    })
    expect(text).toContain('services.yaml:3:5: no such key\n  3 | nam [2J\n')
    expect(text).toMatch(/^blog .* auth key refused \(retry in 5s\)$/m)
  })

  it('cuts no reason at 80 columns, and shows first what is not ready', async () => {
    const since = '2026-03-01T12:00:00.000Z'
    const shards = [
      shardView(1, { problems: ['Its memory has grown by 9 MiB an hour: it leaks.'] }),
      shardView(2, { ready: 0, silentSince: 5, problems: [`Its worker has not answered since ${since}.`] }),
    ]
    const services = [
      serviceView('blog'),
      serviceView('calendar', {
        problems: [
          { part: 'control', message: `The node has had no connection to its control server since ${since}. It keeps serving.` },
          { part: 'upstream', message: `It refuses connections on 127.0.0.1:8080: nothing listens there, since ${since}.` },
        ],
      }),
      serviceView('photos', {
        ...{ phase: 'failed', ready: false, reason: 'ConnectTimeout', addresses: [], dnsName: '', retryAt: now + 5000 },
        message:
          'The node was not up after 1m0s: register request: Post "https://headscale.example/machine/register": no route to host',
      }),
      serviceView('video', {
        ...{ phase: 'unknown', ready: false, reason: 'WaitingForWorker', shard: 2 },
        message: `its worker (pid 4002) has not answered since ${since}`,
      }),
      waiting,
    ]
    const text = renderStatus(statusOf(services, { shards }), { colors, now, columns: 80 })
    const table = text.slice(text.indexOf('SERVICE'))
    expect(table.split('\n').filter(({ length }) => length > 80)).toEqual([])
    expect(table.replaceAll(/\s+/g, ' ')).toContain(
      '"https://headscale.example/machine/register": no route to host (retry in 5s)',
    )
    await expect(`${text}\n`).toMatchFileSnapshot('golden/status-80-columns.txt')
    // Where nothing is cut, as in a pipe, each service has one line.
    const wide = renderStatus(statusOf(services, { shards }), { colors, now })
    expect(wide.slice(wide.indexOf('SERVICE')).split('\n')).toHaveLength(1 + services.length)
    const low = renderStatus(statusOf(services, { shards }), { colors, now, columns: 80, rows: 20 }).split('\n')
    expect(low.at(-1)).toMatch(/^\.\.\. and [1-4] more services?$/)
    expect(low.length).toBeLessThanOrEqual(20)
  })

  it('shows which shards are suspected', () => {
    const shards = [shardView(1), shardView(2, { suspected: true })]
    const text = renderStatus(statusOf([], { shards }), { colors, now })
    expect(text).toMatch(/^1 +\d+ +ready +1\/1/m)
    expect(text).toMatch(/^2 +\d+ +ready, suspected +1\/1/m)
  })

  it('shows a shard that waits for a new worker, and one that was adopted', () => {
    const shards = [
      shardView(1, { adopted: true }),
      shardView(2, { workerPid: null, workerPhase: null, cpuPercent: null, memoryBytes: null, respawnAt: now + 2000 }),
    ]
    const text = renderStatus(statusOf([], { shards }), { colors, now })
    expect(text).toMatch(/^1 .* 1h 2m \(adopted\)$/m)
    expect(text).toMatch(/^2 +- +none +1\/1 +- +- +0 +starts in 2s$/m)
  })

  it('tells below the shards what is wrong with one, whole', () => {
    const shards = [shardView(1), shardView(2, { problems: ['Its memory has grown by 9 MiB an hour: it leaks.'] })]
    const lines = renderStatus(statusOf([], { shards }), { colors, now, columns: 30 }).split('\n')
    expect(lines).toContain('shard 2: Its memory has grown by 9 MiB an hour: it leaks.')
  })

  it('tells of metrics that are not served and of workers that nobody follows, whole', () => {
    const orphan = { workerId: 'shard-1-abc', pid: 258, services: ['blog'], directory: '', isCertain: true }
    const lines = renderStatus(statusOf([], { metricsError: 'taken', orphans: [viewOrphan(orphan)] }), {
      colors,
      now,
      columns: 30,
    })
    expect(lines.split('\n')).toEqual(
      expect.arrayContaining([
        'taken',
        'No supervisor follows worker shard-1-abc (pid 258), which holds blog. End it with "tsnsrv-sup stop --workers".',
      ]),
    )
  })

  it('fits into a terminal, services in trouble first', () => {
    const services = [...Array.from({ length: 50 }, (_, i) => serviceView(`s${i}`)), waiting]
    const lines = renderStatus(statusOf(services), { colors, now, rows: 20, columns: 100 }).split('\n')
    expect(lines.length).toBeLessThan(20)
    expect(lines.findIndex((line) => line.startsWith('SERVICE')) + 1).toBe(lines.findIndex((line) => line.startsWith('wiki ')))
    expect(lines.at(-1)).toMatch(/^\.\.\. and \d+ more services$/)
  })
})

describe('viewOrphan', () => {
  const orphan = { workerId: 'shard-1-abc', pid: 258, services: [], directory: '/run/x/shard-1-abc', isCertain: false }

  it('says what to look at where it is not certain that a process is a worker, and names what is known only', () => {
    expect(viewOrphan(orphan).message).toBe(
      'No supervisor follows worker shard-1-abc (pid 258), which may still run: it does not answer, and this host does not show ' +
        'whether process 258 is a worker. Look at it as root (ps -p 258): end it if it is a tsnsrv-worker, or remove ' +
        '/run/x/shard-1-abc if it is none.',
    )
    expect(viewOrphan({ ...orphan, pid: null, directory: '' }).message).toMatch(
      /ps -C tsnsrv-worker\): end it if it is a tsnsrv-worker\.$/,
    )
  })
})

describe('renderUnsupervised', () => {
  const service = (name: string) => {
    return { name, phase: 'ready' as const, message: '', dnsName: `${name}.ts.net`, addresses: ['100.64.0.1'] }
  }
  const workers = [
    { workerId: 'shard-1-a', shard: 1, pid: 71, version: '1', services: [service('wiki')] },
    {
      workerId: 'shard-2-b',
      shard: 2,
      pid: 72,
      version: '1',
      services: [service('blog'), { ...service('cv'), phase: 'failed' as const, message: 'no\u001b[2J' }],
    },
    { workerId: 'shard-3-c', shard: 3, pid: 73, version: '1', services: [] },
  ]
  const orphans = [viewOrphan({ workerId: 'shard-4-d', pid: 74, services: ['files', 'wiki'], directory: '', isCertain: true })]

  it('shows each service with its worker, then the workers without services and those that do not answer', () => {
    expect(renderUnsupervised({ supervisor: null, workers, orphans }, colors).split('\n')).toEqual([
      'No supervisor runs here.',
      'SERVICE  SHARD  WORKER  STATE   IP          TAILNET NAME / MESSAGE',
      'blog     2      72      ready   100.64.0.1  blog.ts.net',
      'cv       2      72      failed  100.64.0.1  no [2J',
      'wiki     1      71      ready   100.64.0.1  wiki.ts.net',
      'worker shard-3-c (pid 73) runs without services',
      orphans[0]?.message,
    ])
  })

  it('is summed up in a few words, or in none', () => {
    expect(summarizeUnsupervised({ supervisor: null, workers, orphans })).toBe(
      '4 workers (pid 71, 72, 73, 74) serve 4 services without one',
    )
    expect(summarizeUnsupervised({ supervisor: null, workers: workers.slice(0, 1), orphans: [] })).toBe(
      '1 worker (pid 71) serves 1 service without one',
    )
    expect(summarizeUnsupervised({ supervisor: null, workers: [], orphans: [] })).toBe('')
  })
})

describe('describeChanges', () => {
  it('tells what came, changed and went', () => {
    const before = statusOf([serviceView('a'), serviceView('b')])
    const after = statusOf([serviceView('b', { phase: 'failed', ready: false, message: 'no' }), serviceView('c')], {
      ...{ phase: 'stopping', configGeneration: 2, configError: 'bad', metricsError: 'taken' },
      orphans: [{ workerId: 'w', pid: 1, services: [], directory: '', isCertain: true, message: 'End it.' }],
    })
    expect(describeChanges(before, after)).toEqual([
      'supervisor: running -> stopping',
      'config: generation 2',
      'config: refused: bad',
      'metrics: taken',
      'orphan w: End it.',
      'b: failed, no',
      'c: ready',
      'a: gone',
    ])
    expect(describeChanges(after, after)).toEqual([])
    expect(describeChanges(after, { ...after, metricsError: '', orphans: [] })).toEqual(['metrics: served', 'orphan w: gone'])
  })
})

describe('renderProgress', () => {
  it('shows the bar and what is in trouble', () => {
    const services = [serviceView('a'), serviceView('b', { phase: 'failed', ready: false, message: 'refused' })]
    expect(renderProgress(services, 4200, colors)).toBe(`${'█'.repeat(15)}${'░'.repeat(15)} 1/2 ready  4s\n  b: refused`)
    expect(renderProgress([], 0, colors)).toContain('0/0')
  })
})

describe('plan', () => {
  const row = (name: string, shard: number | null, change: PlannedChange) => {
    return { name, shard, weight: 1, group: '', upstream: `http://${name}`, change }
  }

  it('tells for each service what is disturbed, and what is changed', () => {
    const text = renderPlan(
      {
        comparedWith: 'supervisor',
        shardSize: 5,
        services: [
          row('another', 1, { type: 'changed', disturbs: 'identity', fields: ['controlURL'] }),
          row('listening', 1, { type: 'changed', disturbs: 'listener', fields: ['http :80', 'upstream'] }),
          row('noded', 1, { type: 'changed', disturbs: 'node', fields: ['tags'] }),
          row('proxied', 1, { type: 'changed', disturbs: 'proxy', fields: ['upstream'] }),
          row('same', 1, { type: 'unchanged' }),
          row('fresh', 2, { type: 'added' }),
          row('moved', 2, { type: 'moved', from: 1, disturbs: 'node', fields: [] }),
          row('pushed', 2, { type: 'moved', from: 1, disturbs: 'identity', fields: ['stateDir'] }),
          row('gone', 3, { type: 'removed' }),
          row('mended', 4, { type: 'released', fields: ['upstream'] }),
          row('wild', null, { type: 'quarantined', reason: 'its worker ended 2 times' }),
        ],
        notes: ['gcPercent: later'],
      },
      colors,
    )
    expect(text).toBe(`Shard 1: 5 of at most 5 services, weight 5
  = same
  ~  another    a new node starts in place of this one, with other addresses, and has to log in: controlURL
  ~  listening  its listeners are replaced, the node stays: http :80, upstream
  ~  noded      its node restarts: tags
  ~  proxied    in place, no connection is touched: upstream

Shard 2: 3 of at most 5 services, weight 3
  +  fresh   http://fresh
 ->  moved   from shard 1: its node restarts
 ->  pushed  from shard 1: a new node starts in place of this one, with other addresses, and has to log in, changed: stateDir

Shard 3: ends
  -  gone  stops

Shard 4: 1 of at most 5 services, weight 1
  +  mended  leaves quarantine, as it has changed: upstream

In no shard
  !  wild  stays in quarantine: its worker ended 2 times. A change of it or "tsnsrv-sup release wild" ends that.

1 to add, 1 to release, 4 to change, 2 to move, 1 to remove, 1 kept off, 1 to leave alone.
note: gcPercent: later
Compared with what runs, and read as the running supervisor would: with its flags, environment and directory.`)
  })
})

describe('colorsFor', () => {
  const terminal = Object.assign(new CapturedOutput(), { isTTY: true })
  const file = new CapturedOutput()

  it.each([
    ['a terminal', terminal, {}, true],
    ['a file', file, {}, false],
    ['a dumb terminal', terminal, { TERM: 'dumb' }, false],
    ['a terminal with NO_COLOR', terminal, { NO_COLOR: '1' }, false],
    ['an empty NO_COLOR', terminal, { NO_COLOR: '' }, true],
    ['a file with FORCE_COLOR', file, { FORCE_COLOR: '1' }, true],
    ['FORCE_COLOR=0', terminal, { FORCE_COLOR: '0' }, false],
    ['both', terminal, { NO_COLOR: '1', FORCE_COLOR: '1' }, false],
  ])('%s', (_what, stream, env, supported) => {
    expect(colorsFor(stream, env).isColorSupported).toBe(supported)
  })
})
