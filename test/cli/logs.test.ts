/** `tsnsrv-sup logs` on real files. */
import { appendFileSync, mkdirSync, mkdtempSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { nothingRemembered } from '../../supervisor/core/types.ts'
import { writeStateFile } from '../../supervisor/effects/stateFile.ts'
import { result, run } from './terminal.ts'

let stateDir: string

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'lg-'))
})

afterEach(() => {
  rmSync(stateDir, { recursive: true })
})

const here = () => ['--state-dir', stateDir]

describe('logs', () => {
  let logs: string
  const line = (second: number, msg: string, fields: object = {}) =>
    `${JSON.stringify({ time: `2026-11-21T12:00:${String(second).padStart(2, '0')}.5Z`, level: 'INFO', msg, ...fields })}\n`
  const messages = (output: string) => [...output.matchAll(/m\d+/g)].map(([message]) => message)

  beforeEach(() => {
    logs = join(stateDir, '.supervisor', 'logs')
    mkdirSync(logs, { recursive: true })
    writeFileSync(join(logs, 'shard-1-2026-11-21T11-00-00.000.log'), line(1, 'm1', { service: 'blog' }) + line(2, 'm2'))
    writeFileSync(join(logs, 'shard-1.log'), line(5, 'm5', { service: 'blog' }) + 'goroutine 1 [running]:\n' + line(7, 'm7'))
    writeFileSync(join(logs, 'shard-2-requests.log'), line(3, 'm3', { service: 'wiki' }))
    writeFileSync(join(logs, 'shard-2-access.log'), line(6, 'm6'))
    writeFileSync(join(logs, 'supervisor.log'), line(4, 'm4', { service: 'blog' }))
    writeFileSync(join(logs, 'other.txt'), line(9, 'm9'))
  })

  it('merges all logs by time, rotated parts too', async () => {
    const { stdout } = await result('logs', ...here())
    expect(messages(stdout)).toEqual(['m1', 'm2', 'm3', 'm4', 'm5', 'm6', 'm7'])
    expect(stdout.split('\n')[5]).toBe('goroutine 1 [running]:')
  })

  it('shows the last n, or those of a service', async () => {
    expect(messages((await result('logs', '-n', '4', ...here())).stdout)).toEqual(['m5', 'm6', 'm7'])
    expect(messages((await result('logs', 'blog', ...here())).stdout)).toEqual(['m1', 'm4', 'm5'])
    expect(messages((await result('logs', 'blog', '-n', '2', ...here())).stdout)).toEqual(['m4', 'm5'])
  })

  it('prints lines as they were written', async () => {
    expect((await result('logs', '--json', '-n', '1', ...here())).stdout).toBe(line(7, 'm7'))
  })

  it('lets nothing that was logged drive the terminal', async () => {
    appendFileSync(join(logs, 'shard-1.log'), line(8, 'm8 \u001b[2J\u0007', { path: '/\u001b]0;owned\u0007' }))
    appendFileSync(join(logs, 'shard-1.log'), 'panic \u001b[2J\n')
    expect((await result('logs', ...here())).stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f]/)
  })

  it('says when there is nothing', async () => {
    expect(await result('logs', 'nobody', ...here())).toEqual({
      exitCode: 0,
      stdout: '',
      stderr: `No log lines of service nobody in ${logs} yet.\n`,
    })
  })

  it('names the services when there is none of that name, also instead of following it for ever', async () => {
    const placement = new Map(Object.entries({ wiki: 1, blog: 1, quiet: 2 }))
    await writeStateFile(stateDir, { ...nothingRemembered, placement })
    for (const follow of [[], ['-f']]) {
      expect(await result('logs', 'nobody', ...follow, ...here())).toEqual({
        exitCode: 1,
        stdout: '',
        stderr: 'tsnsrv-sup: there is no service nobody; there are blog, quiet, wiki\n',
      })
    }
    expect(await result('logs', 'quiet', ...here())).toMatchObject({
      exitCode: 0,
      stderr: `No log lines of service quiet in ${logs} yet.\n`,
    })
    // What has been removed is still told of.
    appendFileSync(join(logs, 'shard-1.log'), line(8, 'm8', { service: 'removed' }))
    expect(messages((await result('logs', 'removed', ...here())).stdout)).toEqual(['m8'])
  })

  it('reads far back in long logs, and lines longer than a block', async () => {
    const long = Array.from({ length: 3000 }, (_, i) =>
      line(10 + (i % 40), `m${100 + i}`, { padding: 'ä'.repeat(i % 7 === 0 ? 50_000 / 7 : 20) }),
    )
    rmSync(logs, { recursive: true })
    mkdirSync(logs)
    writeFileSync(join(logs, 'shard-1.log'), `${long.join('')}{"time":"half a li`)
    const { stdout } = await result('logs', '--json', '-n', '10000', ...here())
    expect(stdout.split('\n').sort()).toEqual([...long.join('').split('\n')].sort())
  })

  it('follows what is written, through rotation, truncation and new files, and misses and repeats nothing', async () => {
    const current = join(logs, 'shard-1.log')
    appendFileSync(current, line(8, 'm8').slice(0, 20))
    const { stdout, exitCode } = run('logs', '-f', '-n', '2', ...here())
    await stdout.until(/m7\n/)
    appendFileSync(current, line(8, 'm8').slice(20))
    await stdout.until(/m8\n/)
    appendFileSync(current, line(10, 'm10'))
    renameSync(current, join(logs, 'shard-1-2026-11-21T12-00-00.000.log'))
    writeFileSync(current, line(11, 'm11', { long: 'x'.repeat(200) }))
    await stdout.until(/m11 .*\n/)
    truncateSync(current)
    appendFileSync(current, line(12, 'm12'))
    await stdout.until(/m12\n/)
    writeFileSync(join(logs, 'shard-3.log'), line(13, 'm13'))
    await stdout.until(/m13\n/)
    process.emit('SIGINT')
    expect(await exitCode).toBe(0)
    expect(messages(stdout.text)).toEqual(['m6', 'm7', 'm8', 'm10', 'm11', 'm12', 'm13'])
  })
})
