import { Writable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { createLog, formatRecord } from '../../supervisor/effects/supervisorLog.ts'
import { CapturedOutput } from './terminal.ts'

/** A stream whose reader has trouble: each write ends as `outcome` says. */
function troubledStream(outcome: (done: (error?: Error) => void) => void): { stream: Writable; written: string[] } {
  const written: string[] = []
  const stream = new Writable({
    // As process.stderr: an error does not end it.
    autoDestroy: false,
    write(chunk: Buffer, _encoding, done) {
      written.push(chunk.toString())
      outcome(done)
    },
  })
  return { stream, written }
}

describe('createLog', () => {
  it('writes one JSON line per record', () => {
    const output = new CapturedOutput()
    createLog(output, { json: true }).warn('service failed', { service: 'blog', shard: 1, pid: undefined })
    expect(output.text.endsWith('\n')).toBe(true)
    const { time, ...rest } = JSON.parse(output.text) as Record<string, unknown>
    expect(rest).toEqual({ level: 'WARN', msg: 'service failed', service: 'blog', shard: 1 })
    expect(Date.parse(String(time))).not.toBeNaN()
  })

  it('writes a line for people', () => {
    const output = new CapturedOutput()
    createLog(output, { json: false }).info('ready', { service: 'blog', message: 'took 2 s', shard: 1 })
    expect(output.text).toMatch(/^\d\d-\d\d \d\d:\d\d:\d\d INFO {2}blog ready message="took 2 s" shard=1\n$/)
  })

  it('survives a reader that has gone, and writes to it no more', async () => {
    const { stream, written } = troubledStream((done) => done(Object.assign(new Error('broken pipe'), { code: 'EPIPE' })))
    const log = createLog(stream, { json: true })
    log.info('one')
    await new Promise((resolve) => setImmediate(resolve))
    log.info('two')
    expect(written).toHaveLength(1)
  })

  it('drops lines for a reader that does not read, and says how many once it does', () => {
    let release: () => void = () => undefined
    const { stream, written } = troubledStream((done) => (release = done))
    const log = createLog(stream, { json: true })
    for (let i = 0; i < 40; i++) log.info('x'.repeat(100_000))
    expect(stream.writableLength).toBeLessThan(2e6)
    while (stream.writableLength > 0) release()
    log.info('again')
    release()
    expect(JSON.parse(written.at(-1)!)).toMatchObject({ msg: 'again', linesDroppedBefore: 40 - (written.length - 1) })
  })
})

describe('formatRecord', () => {
  it('leaves out what the message says already', () => {
    const fields = { shard: 1, phase: 'ready', reason: 'Ready', to: 'ready', from: 'starting', message: 'Serving.' }
    expect(formatRecord({ time: 'x', level: 'INFO', msg: 'service is ready', ...fields })).toBe(
      'x INFO  service is ready shard=1 from=starting message=Serving.',
    )
  })

  it('leaves out what is empty and keeps what it cannot read', () => {
    const line = formatRecord({ time: 'yesterday', level: 'INFO', msg: 'm', service: '', a: '', b: [1, { c: 2 }], d: 'x=y' })
    expect(line).toBe('yesterday INFO  m b=[1,{"c":2}] d="x=y"')
  })
})
