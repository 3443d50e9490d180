import type { GuestOptions } from './guest.ts'

/**
 * What every interpreter runs before anything else, in Python: it reads one task and does it. Messages are JSON behind
 * their length, in on descriptor 0, out on descriptor 2 and there behind a letter that says what they are; what a program
 * prints goes to descriptor 1.
 *
 * A function under test and its test are in different interpreters, which share nothing but these messages: a program
 * can say what its function returned, and no more. Values cross as data: numbers, texts, bytes, ranges, lists, tuples,
 * dictionaries, sets; of a subclass what it is made of; of an iterator what it yields.
 */
export const DRIVER = `
import _json, builtins, io, os, sys

FINISHED, RAISED, EXITED, CALL, ANSWER = b'f', b'r', b'x', b'c', b'a'

sys.set_int_max_str_digits(0)
sys.stdin = io.StringIO()
sys.stderr = sys.stdout

class Reading:
    strict, memo, object_hook, object_pairs_hook, parse_float, parse_int = True, {}, None, None, float, int
    parse_constant = {'NaN': float('nan'), 'Infinity': float('inf'), '-Infinity': float('-inf')}.__getitem__

def refuse(value):
    raise TypeError('internal: not encoded')

# The json module takes as long to import as Python to start; these are its parts in C.
from_json = _json.make_scanner(Reading)
to_json = _json.make_encoder(None, refuse, _json.encode_basestring_ascii, None, ': ', ', ', False, False, True)

def receive():
    def exactly(size):
        parts = []
        while size > 0:
            part = os.read(0, size)
            if not part:
                os._exit(3)
            parts.append(part)
            size -= len(part)
        return b''.join(parts)
    return from_json(exactly(int.from_bytes(exactly(4), 'big')).decode(), 0)[0]

def send(kind, message=None):
    sys.stdout.flush()
    body = kind + ''.join(to_json(message, 0)).encode()
    body = len(body).to_bytes(4, 'big') + body
    while body:
        body = body[os.write(2, body):]

def encode(value):
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int.__add__(value, 0)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, str):
        return ''.join(str.__iter__(value))
    if isinstance(value, complex):
        return ['complex', value.real, value.imag]
    if isinstance(value, (bytes, bytearray)):
        return ['bytes', bytes(value).hex()]
    if isinstance(value, range):
        return ['range', value.start, value.stop, value.step]
    if isinstance(value, dict):
        return ['dict', *([encode(key), encode(item)] for key, item in dict.items(value))]
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            return [kind.__name__, *map(encode, kind.__iter__(value))]
    if hasattr(value, '__next__') or isinstance(value, (type({}.keys()), type({}.values()), type({}.items()))):
        return ['iterator', *map(encode, value)]
    raise TypeError(f'{type(value).__name__} is not data: it cannot go from a program to its test, or back')

def decode(data):
    if not isinstance(data, list):
        return data
    kind, *rest = data
    if kind == 'complex':
        return complex(*rest)
    if kind == 'bytes':
        return bytes.fromhex(*rest)
    if kind == 'range':
        return range(*rest)
    if kind == 'dict':
        return {decode(key): decode(item) for key, item in rest}
    items = [decode(item) for item in rest]
    if kind == 'iterator':
        return iter(items)
    return {'list': list, 'tuple': tuple, 'set': set, 'frozenset': frozenset}[kind](items)

def failure(error):
    where = error.__traceback__
    line = None
    while where is not None:
        if where.tb_frame.f_code.co_filename in ('<program>', '<test>'):
            line = where.tb_lineno
        where = where.tb_next
    try:
        message = str(error)
    except BaseException:
        message = ''
    return {'type': type(error).__name__, 'message': message[:2000], 'line': line}

def execute(source, name, namespace):
    exec(compile(source, name, 'exec'), namespace)

def run(task):
    try:
        execute(task['source'], '<program>', {'__name__': '__main__'})
        send(FINISHED)
    except SystemExit as end:
        code = end.code
        send(EXITED, 0 if code is None else code if isinstance(code, int) else 1)
    except BaseException as error:
        send(RAISED, failure(error))

def define(task):
    namespace = {'__name__': 'program'}
    try:
        execute(task['source'], '<program>', namespace)
        function = namespace[task['entryPoint']]
    except BaseException as error:
        send(RAISED, failure(error))
        return
    send(FINISHED)
    while True:
        call = receive()
        if call is None:
            return
        arguments, keywords = decode(call['arguments']), decode(call['keywords'])
        try:
            answer = {'value': encode(function(*arguments, **keywords))}
            after = encode(arguments)
            if after != call['arguments']:
                answer['arguments'] = after
        except BaseException as error:
            answer = {'raised': failure(error)}
        send(ANSWER, answer)

def refill(old, new):
    """What a function did to a list, a dictionary or a set that it was given."""
    if isinstance(old, list):
        old[:] = new
    elif isinstance(old, (dict, set)):
        old.clear()
        old.update(new)

def check(task):
    def candidate(*arguments, **keywords):
        send(CALL, {'arguments': encode(list(arguments)), 'keywords': encode(keywords)})
        answer = receive()
        if 'raised' in answer:
            kind = getattr(builtins, answer['raised']['type'], None)
            known = isinstance(kind, type) and issubclass(kind, Exception) and kind is not AssertionError
            text = answer['raised']['message']
            try:
                error = kind(text) if known else RuntimeError(f"{answer['raised']['type']}: {text}")
            except TypeError:
                error = RuntimeError(f"{answer['raised']['type']}: {text}")
            raise error
        if 'arguments' in answer:
            for old, new in zip(arguments, decode(answer['arguments'])):
                refill(old, new)
        return decode(answer['value'])

    namespace = {'__name__': 'test'}
    try:
        # The helpers that a problem's text defines: its tests may call them, as they are there.
        execute(task['prompt'], '<prompt>', namespace)
    except SyntaxError:
        namespace = {'__name__': 'test'}
    try:
        namespace[task['entryPoint']] = candidate
        execute(task['test'], '<test>', namespace)
        namespace['check'](candidate)
    except BaseException as error:
        send(RAISED, failure(error))
    else:
        send(FINISHED)

task = receive()
{'run': run, 'define': define, 'check': check}[task['role']](task)
sys.stdout.flush()
os._exit(0)
`

export const DEFAULT_GUEST: GuestOptions = { driver: DRIVER, sleepMs: 3000, outputBytes: 1 << 16 }
