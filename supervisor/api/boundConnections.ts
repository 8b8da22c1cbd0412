/** A limit for the connections of an HTTP server that keeps room for whoever asks something and takes the answer. */
import type { Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/**
 * Lets a server hold at most so many connections. One more takes the place of the oldest that keeps nobody waiting: that has
 * sent no whole request yet, or does not fetch its answer. Only when there is none of these is the new one closed.
 */
export function boundConnections(server: Server, most: number): void {
  /** What each is being answered, the oldest first. */
  const answers = new Map<Socket, ServerResponse | undefined>()
  server.on('connection', (socket) => {
    if (answers.size >= most) {
      const idle = [...answers].find(([, answer]) => answer === undefined || answer.writableEnded)
      if (!idle) {
        socket.destroy()
        return
      }
      idle[0].destroy()
      answers.delete(idle[0])
    }
    answers.set(socket, undefined)
    socket.once('close', () => answers.delete(socket))
  })
  // Before the server's own listener: that may answer at once.
  server.prependListener('request', ({ socket }, response) => {
    if (answers.has(socket)) answers.set(socket, response)
  })
}
