import { describe, expect, it } from 'vitest'
import { EventLog, type News, newsBetween, newsOf } from '../../supervisor/core/eventLog.ts'
import { nothingObserved, type ObservedWorker } from '../../supervisor/core/types.ts'
import { serviceStatus } from './serviceStatus.ts'

const news = (fields: Partial<News> = {}): News => ({
  severity: 'normal',
  service: 'photos',
  shard: 1,
  what: 'ready',
  reason: 'Ready',
  message: '',
  ...fields,
})

describe('the event log', () => {
  it('counts the same event, and has the latest first', () => {
    const log = new EventLog()
    log.add(news({ what: 'failed', message: 'no key' }), 1000)
    log.add(news({ what: 'starting' }), 2000)
    log.add(news({ what: 'failed', message: 'no key' }), 3000)
    expect(log.read({ service: 'photos' })).toEqual([
      { ...news({ what: 'failed', message: 'no key' }), firstAt: 1000, at: 3000, count: 2 },
      { ...news({ what: 'starting' }), firstAt: 2000, at: 2000, count: 1 },
    ])
  })

  it('keeps the last 50 of a service, and gives those of a shard with its services', () => {
    const log = new EventLog()
    for (let i = 0; i < 60; i++) log.add(news({ message: String(i) }), i)
    log.add(news({ service: null, what: 'gone' }), 70)
    log.add(news({ service: 'wiki', shard: 2 }), 80)
    expect(log.read({ service: 'photos' })).toHaveLength(50)
    expect(log.read({ service: 'photos' }).at(-1)?.message).toBe('10')
    expect(log.read({ shard: 1 })[0]).toMatchObject({ service: null, what: 'gone' })
    expect(log.read({ service: 'gone' })).toEqual([])
  })

  it('stays bounded with thousands of services that fail in ever other words, and keeps the latest', () => {
    const log = new EventLog()
    for (let i = 0; i < 40_000; i++)
      log.add(news({ service: `svc${String(i % 5000)}`, message: `${String(i)} ${'x'.repeat(2000)}` }), i)
    const all = log.read({ most: Number.POSITIVE_INFINITY })
    expect(all).toHaveLength(10_000)
    expect(all.at(-1)?.at).toBe(30_000)
    expect(all[0]?.message.length).toBeLessThan(600)
  })

  it('moves with the clock', () => {
    const log = new EventLog()
    log.add(news(), 1000)
    log.shift(500)
    expect(log.read({})[0]).toMatchObject({ at: 1500, firstAt: 1500 })
  })
})

describe('news', () => {
  it('calls a worker by its id and pid, and its end trouble', () => {
    const transition = {
      subject: 'worker',
      name: 'shard-1-a',
      shard: 1,
      from: 'ready',
      to: 'gone',
      reason: '',
      message: 'SIGKILL',
      pid: 7,
    } as const
    expect(newsOf(transition)).toEqual({
      severity: 'warning',
      service: null,
      shard: 1,
      what: 'gone',
      reason: 'was ready',
      message: 'shard-1-a (pid 7): SIGKILL',
    })
    expect(newsOf({ ...transition, from: 'draining' }).severity).toBe('normal')
  })

  it('tells when a problem of a service comes, when it has gone, and when a certificate is renewed', () => {
    const status = serviceStatus('photos', 'ready')
    const worker = (service: typeof status) =>
      ({ id: 'w', shard: 3, services: new Map([['photos', service]]) }) as unknown as ObservedWorker
    const seen = (service: typeof status) => ({ ...nothingObserved, workers: new Map([['w', worker(service)]]) })
    const broken = { ...status, problems: [{ part: 'upstream', message: 'it refuses connections' } as const] }
    expect(newsBetween(seen(status), seen(broken))).toEqual([
      {
        severity: 'warning',
        service: 'photos',
        shard: 3,
        what: 'problem',
        reason: 'upstream',
        message: 'it refuses connections',
      },
    ])
    expect(newsBetween(seen(broken), seen(status))).toMatchObject([{ severity: 'normal', what: 'mended', reason: 'upstream' }])
    const certificate = { domain: 'photos.example.ts.net', notAfter: 86_400_000 }
    expect(newsBetween(seen(status), seen({ ...status, certificate } as typeof status))).toMatchObject([{ what: 'certified' }])
    expect(newsBetween(seen(status), seen(status))).toEqual([])
  })
})
