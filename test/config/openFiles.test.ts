import { execFileSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { openFileLimit, openFilesProblem, parseLimit } from '../../supervisor/effects/openFiles.ts'

/** What a command says that is run under a soft limit of 100 and a hard one of 200 files. */
const limited = (...command: string[]) =>
  execFileSync('sh', ['-c', 'ulimit -Sn 100 && ulimit -Hn 200 && exec "$@"', 'sh', ...command], { encoding: 'utf8' })

describe('the limit of open files', () => {
  it('is the hard one', () => {
    expect(parseLimit(limited('cat', '/proc/self/limits'))).toBe(200)
  })

  it('counts, as Node raises the soft one by itself, and what it starts inherits that', () => {
    const script = `console.log(require('child_process').execFileSync('cat', ['/proc/self/limits'], { encoding: 'utf8' }))`
    expect(limited(process.execPath, '-e', script)).toMatch(/^Max open files\s+200\s+200/m)
  })

  it('can be read of this process, and may be none', async () => {
    expect(await openFileLimit()).toBeGreaterThan(0)
    expect(parseLimit('Max open files            1024                 unlimited            files')).toBe(Number.POSITIVE_INFINITY)
  })

  it.each([
    ['enough for a full shard', 1632, 57, 20, ''],
    ['one too few', 1631, 57, 20, 'LimitNOFILE=65536'],
    ['few, but for two services enough', 256, 2, 20, ''],
    ['too few for a shard of a thousand', 65_536, 2000, 1000, 'LimitNOFILE=80032'],
    ['none', Number.POSITIVE_INFINITY, 5000, 1000, ''],
  ])('%s', (_what, limit, services, shardSize, remedy) => {
    const problem = openFilesProblem(limit, services, { shardSize })
    if (remedy === '') expect(problem).toBe('')
    else expect(problem).toContain(remedy)
  })
})
