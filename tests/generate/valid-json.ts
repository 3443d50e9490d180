/** A checker of JSON Schema, for tests of what writes by schemas: it reads values, knows no grammar, and is slow. */

type Schema = Readonly<Record<string, unknown>>

export function isValid(value: unknown, schema: unknown, root: unknown = schema): boolean {
  if (typeof schema === 'boolean') return schema
  const s = schema as Schema
  const also = (other: unknown): boolean => isValid(value, other, root)
  if (typeof s.$ref === 'string' && !also(found(root, s.$ref))) return false
  if (s.const !== undefined && !isSame(value, s.const)) return false
  if (Array.isArray(s.enum) && !s.enum.some((one) => isSame(one, value))) return false
  if (Array.isArray(s.anyOf) && !s.anyOf.some(also)) return false
  if (Array.isArray(s.oneOf) && s.oneOf.filter(also).length !== 1) return false
  if (Array.isArray(s.allOf) && !s.allOf.every(also)) return false
  if (s.type !== undefined && ![s.type].flat().some((type) => isOf(value, String(type)))) return false
  if (typeof value === 'string') return isValidString(value, s)
  if (typeof value === 'number') return isValidNumber(value, s)
  if (Array.isArray(value)) return isValidArray(value, s, root)
  return typeof value !== 'object' || value === null || isValidObject(value, s, root)
}

const isSame = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)

function found(root: unknown, ref: string): unknown {
  return ref
    .split('/')
    .slice(1)
    .reduce((at, key) => (at as Schema)[key], root)
}

function isOf(value: unknown, type: string): boolean {
  switch (type) {
    case 'null':
      return value === null
    case 'integer':
      return Number.isInteger(value)
    case 'array':
      return Array.isArray(value)
    case 'object':
      return typeof value === 'object' && value !== null && !Array.isArray(value)
    default:
      return [typeof value].includes(type as 'string')
  }
}

function isValidString(value: string, { minLength = 0, maxLength = Infinity, pattern }: Schema): boolean {
  // Neither way of counting may find fault: code points, and UTF-16's units.
  const lengths = [value.length, [...value].length]
  if (lengths.some((length) => length < (minLength as number) || length > (maxLength as number))) return false
  if (/\p{Surrogate}/u.test(value)) return false
  return pattern === undefined || ['', 'u'].every((flags) => new RegExp(pattern as string, flags).test(value))
}

function isValidNumber(value: number, s: Schema): boolean {
  const { minimum = -Infinity, maximum = Infinity, exclusiveMinimum = -Infinity, exclusiveMaximum = Infinity } = s
  if (!Number.isFinite(value) || value < (minimum as number) || value > (maximum as number)) return false
  return value > (exclusiveMinimum as number) && value < (exclusiveMaximum as number)
}

function isValidArray(value: unknown[], s: Schema, root: unknown): boolean {
  const { prefixItems = [], items = true, minItems = 0, maxItems = Infinity } = s
  if (value.length < (minItems as number) || value.length > (maxItems as number)) return false
  return value.every((item, i) => isValid(item, (prefixItems as unknown[])[i] ?? items, root))
}

function isValidObject(value: object, s: Schema, root: unknown): boolean {
  const { properties = {}, required = [], additionalProperties = true, propertyNames = true } = s
  if (!(required as string[]).every((name) => Object.hasOwn(value, name))) return false
  return Object.entries(value).every(([name, item]) => {
    const described = Object.hasOwn(properties as object, name) ? (properties as Schema)[name] : additionalProperties
    return isValid(name, propertyNames, root) && isValid(item, described, root)
  })
}
