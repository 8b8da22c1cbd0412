import { expect, test } from 'vitest'
import { startTool } from '../../bench/world/tool.ts'

/** Is ready, answers what it is told to at once, and says a word on the side. */
const PROGRAM = `
  console.log(JSON.stringify({ event: 'ready' }))
  require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
    console.error('heard', line)
    if (JSON.parse(line).do === 'answer') console.log(JSON.stringify({ event: 'done', number: 7 }))
  })
`

test('a program that does not answer is ended, and what waits for it goes on', async () => {
  const tool = await startTool({ file: process.execPath, args: ['-e', PROGRAM], hangTimeoutMs: 50 })
  try {
    expect(await tool.ask({ do: 'answer' }, 10_000)).toMatchObject({ number: 7 })
    await expect(tool.ask({ do: 'nothing' }, 0)).rejects.toThrow(/hung, and was ended\nheard .*answer.*\nheard .*nothing/)
    await expect(tool.ask({ do: 'answer' }, 0)).rejects.toThrow(/hung/)
  } finally {
    await tool.stop()
  }
})
