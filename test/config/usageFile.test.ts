import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { UsageBook, nothingUsed } from '../../supervisor/core/usageBook.ts'
import { prepareDirectories } from '../../supervisor/effects/stateFile.ts'
import { keepUsageFile, readUsageFile } from '../../supervisor/effects/usageFile.ts'

let stateDir: string
let file: string
const warnings: string[] = []
const warn = (message: string) => void warnings.push(message)
const read = () => Promise.resolve()

beforeEach(async () => {
  stateDir = await mkdtemp(join(tmpdir(), 'tsnsrv-usage-'))
  await prepareDirectories(stateDir, join(stateDir, 'run'))
  file = join(stateDir, '.supervisor', 'usage.json')
  warnings.length = 0
})
afterEach(() => rm(stateDir, { recursive: true }))

/** A book in which blog has been asked so often. */
function bookOf(requests: number): UsageBook {
  const book = new UsageBook(nothingUsed)
  const series = 'tsnsrv_requests_total{code="200",service="blog"}'
  book.take({ type: 'metricsRead', workerId: 'a', text: `# TYPE tsnsrv_requests_total counter\n${series} ${requests}\n` })
  return book
}

it('gives the next supervisor what this one knew', async () => {
  const book = bookOf(7)
  await keepUsageFile(stateDir, book, read, warn)()
  const next = new UsageBook(await readUsageFile(stateDir, warn))
  expect(next.record).toEqual(book.record)
  next.keepWorkers(new Set())
  expect(next.served('blog')).toEqual({ requests: 7, errors: 0 })
  expect(warnings).toEqual([])
})

it('is written when a worker ends', async () => {
  const book = bookOf(7)
  const end = keepUsageFile(stateDir, book, read, warn)
  book.take({ type: 'workerExited', workerId: 'a', message: '' })
  await expect.poll(async () => (await readUsageFile(stateDir, warn)).metrics.ended.size).toBe(1)
  await end()
})

it.each(['', '{"version":1', '{"version":2}', '{"version":1,"families":{},"metrics":{"ended":{"blog":{"a":"1"}}},"events":{}}'])(
  'is set aside with a warning when it is damaged: %s',
  async (text) => {
    await writeFile(file, text)
    expect(await readUsageFile(stateDir, warn)).toEqual(nothingUsed)
    expect(warnings).toEqual([expect.stringMatching(/^cannot use .*usage\.json: .*counted anew$/s)])
    const aside = (await readdir(join(stateDir, '.supervisor'))).filter((name) => name.startsWith('usage.json.damaged-'))
    expect(aside).toHaveLength(1)
    expect(await readFile(join(stateDir, '.supervisor', aside[0] ?? ''), 'utf8')).toBe(text)
  },
)

it('costs a warning, and no more, when it cannot be written', async () => {
  await rm(join(stateDir, '.supervisor'), { recursive: true })
  const book = bookOf(7)
  const end = keepUsageFile(stateDir, book, read, warn)
  await end()
  await end()
  expect(warnings).toEqual([expect.stringMatching(/^cannot write .*usage\.json: it does not exist \(ENOENT\)/)])
})
