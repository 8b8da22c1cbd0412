/** Leak detection on made-up histories, sampled every five minutes. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type MemoryHistory, lastingBytes, noMemory, recordMemory } from '../../supervisor/core/memory.ts'

const MIB = 2 ** 20
const START = 1_750_000_000_000
const STEP_HOURS = 1 / 12

/** Noise from 0 to 1 that is the same in every run. */
const noise = (i: number) => Math.abs(Math.sin(i * 12.9898) * 43758.5453) % 1

interface Life {
  /** Resident MiB at so many hours after the start; `i` counts the samples. */
  memory: (hours: number, i: number) => number
  services?: (hours: number) => number
  hours: number
}

/** The history after such a life, and whether growth was told at any time. */
function lived({ memory, services = () => 20, hours }: Life): { history: MemoryHistory; everTold: boolean } {
  let history = noMemory
  let everTold = false
  for (let i = 0; i * STEP_HOURS <= hours; i++) {
    const at = i * STEP_HOURS
    history = recordMemory(history, memory(at, i) * MIB, services(at), START + at * 3_600_000)
    everTold ||= history.growth !== null
  }
  return { history, everTold }
}

/** Garbage between two collections: up to 16 MiB, by and by and back again. */
const sawTooth = (i: number) => 16 * ((i * 0.37) % 1)
/** Now and then a load that takes a few hundred MiB for half an hour. */
const peaks = (hours: number) => (hours % 5 < 0.5 ? 300 : 0)

describe('growth without end is told', () => {
  it.each<[string, Life, number]>([
    ['of 1 MiB an hour, after a day', { memory: (hours, i) => 120 + hours + sawTooth(i), hours: 36 }, 1],
    ['under loads that come and go', { memory: (hours, i) => 120 + 2 * hours + sawTooth(i) + peaks(hours), hours: 30 }, 2],
    ['that follows the day as well', { memory: (hours) => 120 + 5 * hours + 20 * Math.sin(hours / 3.8), hours: 47 }, 5],
    ['that doubles it within the day, after 12 hours', { memory: (hours, i) => 120 + 15 * hours + sawTooth(i), hours: 14 }, 15],
    [
      'while services come and go',
      {
        memory: (hours, i) => 6 * (18 + Math.floor(hours / 9)) + 4 * hours + sawTooth(i),
        services: (hours) => 18 + Math.floor(hours / 9),
        hours: 40,
      },
      4,
    ],
  ])('%s', (_what, life, mibPerHour) => {
    const { growth } = lived(life).history
    expect((growth?.bytesPerHour ?? 0) / MIB).toBeGreaterThan(mibPerHour * 0.7)
    expect((growth?.bytesPerHour ?? 0) / MIB).toBeLessThan(mibPerHour * 1.3)
    expect(growth?.since).toBe(START)
  })

  it('and taken back when it has ended', () => {
    const { history, everTold } = lived({ memory: (hours) => 120 + 3 * Math.min(hours, 30), hours: 80 })
    expect({ everTold, growth: history.growth }).toEqual({ everTold: true, growth: null })
  })
})

describe('never is told', () => {
  it.each<[string, Life]>([
    ['the saw-tooth of the collector', { memory: (_hours, i) => 120 + sawTooth(i), hours: 100 }],
    ['noise', { memory: (_hours, i) => 120 + 100 * noise(i), hours: 100 }],
    ['loads that come and go', { memory: (hours, i) => 120 + sawTooth(i) + peaks(hours), hours: 100 }],
    ['one load for six hours', { memory: (hours) => (hours > 20 && hours < 26 ? 500 : 120), hours: 60 }],
    ['a step up that stays', { memory: (hours) => (hours > 20 ? 300 : 120), hours: 100 }],
    ['what fills up after the start and then stays', { memory: (hours) => 120 + 400 * (1 - Math.exp(-hours / 5)), hours: 100 }],
    ['drifting by a few MiB in a day', { memory: (hours) => 120 + 0.4 * hours, hours: 70 }],
    ['memory that falls', { memory: (hours) => 500 - 3 * hours, hours: 100 }],
    [
      'one more service every three hours, for 7 MiB each',
      { memory: (hours) => 7 * (10 + Math.floor(hours / 3)), services: (hours) => 10 + Math.floor(hours / 3), hours: 70 },
    ],
  ])('%s', (_what, life) => {
    expect(lived(life).everTold).toBe(false)
  })

  it('a load that follows the day, whenever the watching begins', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 24, noNaN: true }), fc.integer({ min: 10, max: 55 }), (offset, swing) => {
        const memory = (hours: number) => 120 + swing * (1 + Math.sin((2 * Math.PI * (hours + offset)) / 24))
        expect(lived({ memory, hours: 60 }).everTold).toBe(false)
      }),
      { numRuns: 20 },
    )
  })
})

describe('the history', () => {
  it('is bounded, whatever comes', () => {
    const sample = fc.record({
      bytes: fc.double(),
      services: fc.integer({ min: 0, max: 50 }),
      pause: fc.integer({ min: -1e7, max: 1e7 }),
    })
    fc.assert(
      fc.property(fc.array(sample, { maxLength: 300 }), (samples) => {
        let history = noMemory
        let now = START
        for (const { bytes, services, pause } of samples) history = recordMemory(history, bytes, services, (now += pause))
        expect(history.hours.length).toBeLessThanOrEqual(48)
        expect(history.recent.length).toBeLessThanOrEqual(6)
        expect(history.recent.every((bytes) => bytes > 0)).toBe(true)
        expect(Number.isFinite(history.growth?.bytesPerHour ?? 0)).toBe(true)
      }),
    )
  })

  it('tells what lasts, and not a peak', () => {
    const after = (...mib: number[]) =>
      lastingBytes(mib.reduce((history, each) => recordMemory(history, each, 1, START), noMemory))
    expect(after(900, 900, 900, 900, 900)).toBe(0)
    expect(after(900, 900, 900, 900, 900, 800)).toBe(800)
    expect(after(900, 900, 900, 100, 900, 900, 900, 900, 900)).toBe(100)
  })
})
