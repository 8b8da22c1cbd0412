/** What people see: the pure views. */
import pc from 'picocolors'
import { describe, expect, it } from 'vitest'
import { formatDuration, formatTable } from '../../supervisor/cli/format.ts'
import type { PlannedChange } from '../../shared/api.ts'
import { renderPlan } from '../../supervisor/cli/plan.ts'
import { renderProgress } from '../../supervisor/cli/progress.ts'
import { describeChanges, renderStatus } from '../../supervisor/cli/statusView.ts'
import { colorsFor } from '../../supervisor/cli/terminal.ts'
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

  it('fits into a terminal, services in trouble first', () => {
    const services = [...Array.from({ length: 50 }, (_, i) => serviceView(`s${i}`)), waiting]
    const lines = renderStatus(statusOf(services), { colors, now, rows: 20, columns: 100 }).split('\n')
    expect(lines.length).toBeLessThan(20)
    expect(lines.findIndex((line) => line.startsWith('SERVICE')) + 1).toBe(lines.findIndex((line) => line.startsWith('wiki ')))
    expect(lines.at(-1)).toMatch(/^\.\.\. and \d+ more services$/)
  })
})

describe('describeChanges', () => {
  it('tells what came, changed and went', () => {
    const before = statusOf([serviceView('a'), serviceView('b')])
    const after = statusOf([serviceView('b', { phase: 'failed', ready: false, message: 'no' }), serviceView('c')], {
      ...{ phase: 'stopping', configGeneration: 2, configError: 'bad' },
    })
    expect(describeChanges(before, after)).toEqual([
      'supervisor: running -> stopping',
      'config: generation 2',
      'config: refused: bad',
      'b: failed, no',
      'c: ready',
      'a: gone',
    ])
    expect(describeChanges(after, after)).toEqual([])
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
