import t from 'tap'
import { asFailure, failure, systemCode } from '../../lib/errors.ts'
import { listenFailure } from '../../lib/http/server.ts'

t.test('an error has a code, an exit status that follows from it, and its cause', async (t) => {
  const cause = new Error('below')
  const fault = failure('CONFIG_INVALID', 'Say what to do.', cause)
  t.match(fault, { code: 'CONFIG_INVALID', exitStatus: 78, message: 'Say what to do.', cause })
  t.equal(asFailure(fault), fault)
  t.match(asFailure(cause), { code: 'UNEXPECTED', exitStatus: 70, cause })
  t.match(asFailure('text'), { code: 'UNEXPECTED', message: /text/ })
  t.equal(systemCode(Object.assign(new Error(), { code: 'ENOENT' })), 'ENOENT')
  t.equal(systemCode(cause), undefined)
})

t.test('what a failed listen means names the key to change', async (t) => {
  const fault = (code: string) =>
    listenFailure(Object.assign(new Error(), { code }), '1.2.3.4', 80, 'listeners')
  t.match(fault('EADDRINUSE'), { code: 'PORT_TAKEN', message: /1\.2\.3\.4:80 .*"listeners"/ })
  t.match(fault('EACCES'), { code: 'PORT_DENIED', message: /above 1023/ })
  t.match(fault('EADDRNOTAVAIL'), { code: 'PORT_DENIED', message: /not an address of this machine/ })
})

t.test('a message holds no control characters, whatever name from outside is in it', async (t) => {
  t.equal(
    failure('TOPIC_INVALID', 'a\x1b]0;owned\x07\x7f\u202e\nb').message,
    'a\\u001b]0;owned\\u0007\\u007f\\u202e\nb',
  )
})
