/** A state file of each version, as a supervisor of that version wrote it, still loads; and what is written is read as it was. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { nothingRemembered, type Remembered } from '../../supervisor/core/types.ts'
import { parseState, serializeState } from '../../supervisor/effects/stateSchema.ts'

const directory = join(import.meta.dirname, '..', '..', 'shared', 'fixtures', 'state')
const stored = (name: string) => parseState(JSON.parse(readFileSync(join(directory, name), 'utf8')))

const everything: Remembered = {
  placement: new Map(Object.entries({ photos: 1, wiki: 2 })),
  certificateOrders: new Map([['photos.example.ts.net', [1795000000000]]]),
  moves: new Map([['wiki', { from: 2, to: 1, why: 'shard 2 is cold', queuedAt: 1795000000000, begunAt: null, problem: '' }]]),
  rebalancing: {
    paused: true,
    cordoned: new Set([3]),
    scaledTo: 2,
    pinned: new Set(['photos', 'music']),
    movedAt: new Map([['photos', 1794999999000]]),
    upgrade: { waiting: [1, 2], current: null, halted: '' },
    decisions: [
      {
        verdict: 'merge',
        reason: 'Shard 2 is cold.',
        moves: [{ name: 'wiki', from: 2, to: 1 }],
        expected: [{ shard: 1, beforePercent: 3, afterPercent: 4.5 }],
        at: 1795000000000,
        carriedOutAt: null,
        measured: null,
        measuredAt: null,
        problems: [],
      },
    ],
  },
  rates: new Map([['photos', 1.5]]),
  culprits: {
    deaths: [{ shard: 1, at: 1794999990000, services: ['photos'], why: 'killed by SIGKILL', search: null, witnessed: true }],
    suspects: new Map([[4, 1794999991000]]),
    quarantine: new Map([['backup', { since: 1794999992000, reason: 'It ended its worker twice.', specHash: 'h' }]]),
  },
}

describe('a state file', () => {
  it.each([
    ['version1-first.json', { ...nothingRemembered, placement: everything.placement }],
    ['version1-last.json', everything],
    ['version2.json', everything],
  ])('%s loads', (name, expected) => {
    expect(stored(name)).toEqual(expected)
  })

  it('of every version is there', () => {
    expect(readdirSync(directory).sort()).toEqual(['version1-first.json', 'version1-last.json', 'version2.json'])
  })

  it('is written in the newest version, and read as it was', () => {
    expect(serializeState(everything)).toBe(readFileSync(join(directory, 'version2.json'), 'utf8'))
    expect(parseState(JSON.parse(serializeState(nothingRemembered)))).toEqual(nothingRemembered)
  })

  it.each([
    ['of a later version', { version: 3, placement: {} }],
    ['without a version', { placement: {} }],
    ['of an unknown shape', { version: 2, placement: { photos: 'one' } }],
    ['that is a list', []],
  ])('%s is refused', (_, file) => {
    expect(() => parseState(file)).toThrow()
  })
})
