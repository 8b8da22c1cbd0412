import { expect, it } from 'vitest'
import { StartBook } from '../../supervisor/core/starts.ts'
import { type Move, nothingObserved, type ObservedWorker, type ServiceRecord } from '../../supervisor/core/types.ts'
import type { ServicePhase } from '../../shared/protocol.ts'
import { serviceStatus } from './serviceStatus.ts'

const seen = (phase: ServicePhase, since: number, restarts: ServiceRecord['restarts'] = {}) => ({
  ...nothingObserved,
  workers: new Map([
    ['w', { id: 'w', services: new Map([['photos', serviceStatus('photos', phase, { since })]]) } as unknown as ObservedWorker],
  ]),
  services: new Map([['photos', { restarts } as ServiceRecord]]),
})
const moving = new Map([['photos', {} as Move]])

it('counts how long starts take, by how they came about', () => {
  const book = new StartBook()
  expect(book.latest('photos')).toBeNull()
  book.look(seen('starting', 1000), seen('ready', 4000), new Map())
  book.look(seen('starting', 1000), seen('ready', 1200), moving)
  book.look(seen('starting', 1000), seen('ready', 101_000, { worker: 1 }), new Map())
  expect(book.histograms).toEqual({
    cold: { buckets: [0, 0, 0, 0, 1, 1, 1, 1], sum: 3, count: 1 },
    move: { buckets: [1, 1, 1, 1, 1, 1, 1, 1], sum: 0.2, count: 1 },
    restart: { buckets: [0, 0, 0, 0, 0, 0, 0, 0], sum: 100, count: 1 },
  })
  expect(book.latest('photos')).toBe(100)
  book.keep(new Set())
  expect(book.latest('photos')).toBeNull()
})

it('counts no start of which it has not seen the beginning, nor the time that a person took to log in', () => {
  const book = new StartBook()
  book.look(nothingObserved, seen('ready', 4000), new Map())
  book.look(seen('needsLogin', 1000), seen('ready', 4000), new Map())
  book.look(seen('starting', 1000), seen('failed', 4000), new Map())
  expect(book.histograms).toEqual({})
})
