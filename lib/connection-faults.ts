import { systemCode } from './errors.ts'

/** What is wrong with a connection, in the field's words: `Cannot connect to NAME: WORDS.` */
const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ENOTFOUND: 'host name not found',
  EAI_AGAIN: 'host name not found',
  ECONNRESET: 'connection reset',
  EPIPE: 'connection closed',
  UND_ERR_SOCKET: 'connection reset',
  ETIMEDOUT: 'connection timed out',
  UND_ERR_CONNECT_TIMEOUT: 'connection timed out',
  EHOSTUNREACH: 'no route to host',
  ENETUNREACH: 'no route to host',
}

/** @returns undefined where the error is none of a connection */
export const connectionFault = (error: unknown): string | undefined => WORDS[systemCode(error) ?? '']
