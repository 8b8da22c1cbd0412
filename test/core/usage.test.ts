import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { renderExposition } from '../../supervisor/core/exposition.ts'
import { UsageBook, nothingUsed } from '../../supervisor/core/usageBook.ts'
import { serviceStatus } from './serviceStatus.ts'

const SERVICES = ['blog', 'wiki']
const CODES = ['200', '502']

/** What a worker has counted, by series. */
type Counted = Map<string, number>
const seriesOf = (service: string, code: string) => `tsnsrv_requests_total{code="${code}",service="${service}"}`
const requestsOf = (counted: ReadonlyMap<string, number>, service: string) =>
  CODES.reduce((sum, code) => sum + (counted.get(seriesOf(service, code)) ?? 0), 0)

function textOf(counted: Counted, open = 0): string {
  const durations = SERVICES.flatMap((service) => {
    const count = requestsOf(counted, service)
    return [`d_bucket{service="${service}",le="+Inf"} ${count}`, `d_count{service="${service}"} ${count}`]
  })
  return [
    '# TYPE tsnsrv_requests_total counter',
    ...[...counted].map(([series, count]) => `${series} ${count}`),
    '# TYPE d histogram',
    ...durations,
    '# TYPE open gauge',
    ...SERVICES.map((service) => `open{service="${service}"} ${open}`),
    '',
  ].join('\n')
}

function numbersOf(book: UsageBook, owners = new Map<string, string>()): Map<string, number> {
  const lines = renderExposition(book.metrics(owners)).split('\n')
  return new Map(
    lines.flatMap((line) => {
      const [, series, value] = /^([^#].*) (\S+)$/.exec(line) ?? []
      return series === undefined ? [] : [[series, Number(value)]]
    }),
  )
}

/** The supervisor's book beside what really happened. */
class World {
  book = new UsageBook(nothingUsed)
  readonly workers = new Map<string, Counted>()
  /** What of it was read, by worker, and of those that have ended. */
  readonly read = new Map<string, Counted>()
  readonly ended: Counted = new Map()
  #revision = 0

  counted(worker: string): Counted {
    const counted = this.workers.get(worker) ?? new Map<string, number>()
    this.workers.set(worker, counted)
    return counted
  }

  count(worker: string, service: string, code: string, by: number): void {
    const counted = this.counted(worker)
    counted.set(seriesOf(service, code), (counted.get(seriesOf(service, code)) ?? 0) + by)
  }

  scrape(worker: string): void {
    const counted = this.counted(worker)
    this.book.take({ type: 'metricsRead', workerId: worker, text: textOf(counted) })
    this.read.set(worker, new Map(counted))
  }

  /** A status, and after it an older one that it has overtaken. */
  tell(worker: string): void {
    for (const service of SERVICES) {
      const requests = requestsOf(this.counted(worker), service)
      this.#revision += 2
      for (const [revision, told] of [
        [this.#revision, requests],
        [this.#revision - 1, 0],
      ] as const) {
        const counters = { requests: told, errors: 0, bytesIn: 0, bytesOut: 0, openConnections: 0 }
        this.book.take({
          type: 'serviceChanged',
          workerId: worker,
          service: serviceStatus(service, 'ready', { counters, revision }),
        })
      }
    }
  }

  kill(worker: string): void {
    this.#bury(worker)
    this.book.take({ type: 'workerExited', workerId: worker, message: 'killed by SIGKILL' })
  }

  /** Another supervisor takes over; a worker has died meanwhile. */
  restart(dead: string): void {
    this.#bury(dead)
    this.book = new UsageBook(this.book.record)
    this.book.keepWorkers(new Set(this.workers.keys()))
  }

  #bury(worker: string): void {
    for (const [series, count] of this.read.get(worker) ?? []) this.ended.set(series, (this.ended.get(series) ?? 0) + count)
    this.read.delete(worker)
    this.workers.delete(worker)
  }

  expected(): Counted {
    const all = new Map(this.ended)
    for (const counted of this.read.values())
      for (const [series, count] of counted) all.set(series, (all.get(series) ?? 0) + count)
    return all
  }
}

const worker = fc.constantFrom('a', 'b', 'c')
const Step = fc.oneof(
  fc.tuple(worker, fc.constantFrom(...SERVICES), fc.constantFrom(...CODES), fc.integer({ min: 1, max: 50 })).map(
    ([id, service, code, by]) =>
      (world: World) =>
        world.count(id, service, code, by),
  ),
  worker.map((id) => (world: World) => world.scrape(id)),
  worker.map((id) => (world: World) => world.tell(id)),
  worker.map((id) => (world: World) => world.kill(id)),
  worker.map((id) => (world: World) => world.restart(id)),
)

describe('usage', () => {
  it('never falls, and is what was read, whatever happens to workers and supervisors', () => {
    fc.assert(
      fc.property(fc.array(Step, { maxLength: 60 }), (steps) => {
        const world = new World()
        let before = numbersOf(world.book)
        let served = SERVICES.map((service) => world.book.served(service).requests)
        for (const step of steps) {
          step(world)
          const now = numbersOf(world.book)
          for (const [series, value] of before) expect(now.get(series)).toBeGreaterThanOrEqual(value)
          const requests = new Map([...now].filter(([series]) => series.startsWith('tsnsrv_requests_total')))
          expect(requests).toEqual(world.expected())
          for (const service of SERVICES)
            expect(now.get(`d_count{service="${service}"}`) ?? 0).toBe(requestsOf(requests, service))
          const servedNow = SERVICES.map((service) => world.book.served(service).requests)
          servedNow.forEach((count, i) =>
            expect(count).toBeGreaterThanOrEqual(Math.max(served[i] ?? 0, requestsOf(requests, SERVICES[i] ?? ''))),
          )
          before = now
          served = servedNow
        }
      }),
    )
  })

  it('keeps what a worker had counted that forgets a service when it leaves', () => {
    const book = new UsageBook(nothingUsed)
    const read = (count: number) => {
      book.take({ type: 'metricsRead', workerId: 'a', text: textOf(new Map([[seriesOf('blog', '200'), count]])) })
    }
    read(10)
    read(3)
    expect(numbersOf(book).get(seriesOf('blog', '200'))).toBe(13)
    expect(numbersOf(book).get('d_count{service="blog"}')).toBe(13)
  })

  it('shows the present of a service as its owner told it last, until that has ended', () => {
    const book = new UsageBook(nothingUsed)
    const owners = new Map([
      ['blog', 'b'],
      ['wiki', 'a'],
    ])
    book.take({ type: 'metricsRead', workerId: 'a', text: textOf(new Map(), 1) })
    book.take({ type: 'metricsRead', workerId: 'b', text: textOf(new Map(), 2) })
    const open = () => SERVICES.map((service) => numbersOf(book, owners).get(`open{service="${service}"}`))
    expect(open()).toEqual([2, 1])
    book.take({ type: 'workerExited', workerId: 'b', message: '' })
    expect(open()).toEqual([undefined, 1])
  })

  it('forgets services that are not configured any more', () => {
    const book = new UsageBook(nothingUsed)
    const text = textOf(
      new Map([
        [seriesOf('blog', '200'), 1],
        [seriesOf('wiki', '200'), 1],
      ]),
    )
    book.take({ type: 'metricsRead', workerId: 'a', text })
    book.keepServices(new Set(['wiki']))
    book.take({ type: 'metricsRead', workerId: 'a', text })
    expect([...numbersOf(book).keys()].filter((series) => series.includes('blog'))).toEqual([])
    expect(JSON.stringify([...book.record.metrics.workers.values()].map((counts) => [...counts.keys()]))).toBe('[["wiki"]]')
  })
})
