/**
 * tsnsrv-sup does what arsfeld/tsnsrv does, or something else on purpose: each case is one test, which
 * `npx vitest run --project conformance -t <id>` runs by name. With TSNSRV_BINARY (the program, or packed as .xz), tsnsrv runs
 * the same cases beside it and has to do what docs/conformance.md records of it; without, ours alone is held to the record.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { unpack } from '../../bench/harness/build.ts'
import { freePort } from '../e2e/stack.ts'
import { type Case, type Observed, fileOf } from './case.ts'
import { areas } from './cases/index.ts'
import { fill } from './names.ts'
import { type Subject, ours, tsnsrv } from './subject.ts'
import { type Stage, World } from './world.ts'

const packed = process.env.TSNSRV_BINARY
const cases = Object.values(areas).flat()
const expectedOf = {
  ours: (each: Case): Observed => each.ours,
  tsnsrv: (each: Case): Observed => each.theirs ?? each.ours,
}

let directory: string
const subjects: Subject[] = [ours]

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'peer-'))
  if (packed) subjects.push(tsnsrv(await unpack(packed, directory)))
})

afterAll(async () => {
  for (const stage of stages.values()) await (await stage).stop()
  for (const world of worlds.values()) await (await world).end()
  await rm(directory, { recursive: true })
})

/** Made by the first case that needs them: those that only ask about a file need none. By what fails there: mostly nothing. */
const worlds = new Map<string, Promise<World>>()
const stages = new Map<string, Promise<Stage>>()

function stageOf(subject: Subject, failing = ''): Promise<Stage> {
  return once(stages, `${subject.name} ${failing}`, async () => {
    const world = await once(worlds, failing, () => World.create())
    const run = cases.filter((each) => typeof expectedOf[subject.name](each) !== 'string' && each.failing === undefined)
    return world.start(subject, failing === '' ? [...new Set(run.map(({ keys = '' }) => keys))] : [], failing)
  })
}

function once<T>(made: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  const value = made.get(key) ?? make()
  made.set(key, value)
  return value
}

async function observe(subject: Subject, each: Case): Promise<Observed> {
  const expected = expectedOf[subject.name](each)
  if (typeof expected === 'string') return subject.judge(fill(fileOf(each), { metrics: `127.0.0.1:${await freePort()}` }))
  return (await stageOf(subject, each.failing)).observe(each, Object.keys(expected))
}

describe.each(Object.keys(areas))('%s', (area) => {
  for (const each of areas[area] ?? []) {
    it(`${each.id}: ${each.statement}`, async () => {
      for (const subject of subjects) {
        expect.soft(await observe(subject, each), subject.name).toEqual(expectedOf[subject.name](each))
      }
    })
  }
})

describe('the peer', () => {
  it('was run beside ours', ({ skip }) => {
    skip(!packed, 'TSNSRV_BINARY names no arsfeld/tsnsrv: what the record says of it was not measured again')
  })
})
