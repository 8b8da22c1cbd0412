import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { compare } from '../research/pairs/compare.ts'
import { writePairs } from '../research/pairs/report.ts'

const turn = (cpuSeconds: number, total: number) => ({ cpuSeconds, requests: { total, perSecond: total / 2, p99Ms: 10 } })

it('compares the turns of one round with each other, so that a bad minute is nobody’s', () => {
  // The machine is twice as slow in the second round, and four times in the third.
  const slow = [1, 2, 4]
  const [base, other] = compare(
    new Map([
      ['base', slow.map((by) => turn(0.2 * by, 1000))],
      ['other', slow.map((by) => turn(0.18 * by, 1000 * 1.2))],
    ]),
  )
  expect(base).toMatchObject({
    title: 'base',
    cpuPerThousand: { found: { median: 400 }, times: { lower: 1, median: 1, upper: 1 } },
  })
  expect(other?.cpuPerThousand.times.lower).toBeCloseTo(0.75)
  expect(other?.cpuPerThousand.times.upper).toBeCloseTo(0.75)
  expect(other?.perSecond.times.median).toBeCloseTo(1.2)
  expect(other?.p99Ms.times.median).toBe(1)
})

it('gives the middle half of the pairs', () => {
  const [, other] = compare(
    new Map([
      ['base', Array.from({ length: 5 }, () => turn(1, 1000))],
      ['other', [1, 2, 3, 4, 5].map((cpu) => turn(cpu, 1000))],
    ]),
  )
  expect(other?.cpuPerThousand.times).toEqual({ lower: 2, median: 3, upper: 4 })
})

it('writes who took how much, and how to repeat it', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'pairs-'))
  onTestFinished(() => rm(directory, { recursive: true }))
  await writePairs(
    {
      format: 1,
      startedAt: '2026-11-28T10:00:00.000Z',
      command: 'npm run bench:pairs -- --subjects tsnsrv',
      machine: { cpu: 'A CPU', cores: 2, memoryBytes: 2 ** 34, kernel: '6.1' },
      versions: { node: '20.20.2' },
      host: 'A network namespace.',
      turnSeconds: 2,
      contenders: [
        { title: 'tsnsrv-sup', version: '0.1.0', about: 'Ours.', turns: [turn(0.2, 1000), turn(0.2, 1000)] },
        { title: 'tsnsrv', version: '0.0.1', about: 'Theirs.', turns: [turn(0.6, 1000), turn(0.6, 1000)] },
      ],
    },
    directory,
  )
  const report = await readFile(join(directory, 'report.md'), 'utf8')
  expect(report).toMatch(/\| tsnsrv +\| +600 \(600-600\) \| +3 \(3-3\) \|/)
  expect(report).toContain('Repeat with `npm run bench:pairs -- --subjects tsnsrv`.')
  expect(await readdir(directory)).toEqual(['report.md', 'results.json'])
})
