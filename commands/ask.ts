import { readFileSync } from 'node:fs'
import { get as getHttp, type RequestOptions } from 'node:http'
import { get as getHttps } from 'node:https'

const ANSWER_MS_MAX = 5000
const ANSWER_BYTES_MAX = 1024 * 1024

/** What a program of ours answers over HTTP or HTTPS, whatever its status. Rejects where it does not, in time. */
export function ask(options: RequestOptions, secure: boolean): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = (secure ? getHttps : getHttp)({ ...options, agent: false }, (answer) => {
      let text = ''
      answer.setEncoding('utf8')
      answer.on('data', (chunk: string) => {
        text += chunk
        if (text.length > ANSWER_BYTES_MAX) request.destroy(new Error('response too long'))
      })
      answer.on('end', () => resolve(text))
      answer.on('error', reject)
    })
    // Of the whole answer: whoever asks has a deadline of its own.
    const timer = setTimeout(
      () => request.destroy(new Error(`no response within ${ANSWER_MS_MAX / 1000} s`)),
      ANSWER_MS_MAX,
    )
    request.on('close', () => clearTimeout(timer))
    request.on('error', reject)
  })
}

/** The same of a program on this machine, at the address that its settings have under "http". */
export function askOwn(
  {
    host,
    port,
    tls,
  }: { readonly host: string; readonly port: number; readonly tls?: { readonly certFile: string } },
  path: string,
): Promise<string> {
  return ask(
    {
      host: host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host,
      port,
      path,
      // Whom we ask shows our own file: it stands for itself, whatever name and authority it has.
      ...(tls && {
        ca: readFileSync(tls.certFile),
        allowPartialTrustChain: true,
        checkServerIdentity: () => undefined,
      }),
    },
    tls !== undefined,
  )
}
