/* Hashes with OpenSSL while bytes that come next are fetched into the core's cache, the interpreter's lock released.
 *
 * A thread that hashes what another core has just read or inflated waits for each line of it: SHA-256 takes a third to a
 * half longer than for bytes in its own cache. Asked for some lines ahead, they are there in time
 * (docs/decisions/hashing.md).
 *
 * The library is the one that hashlib uses. Its functions are handed over as addresses (openssl.py), so that no header
 * of it is needed to build this.
 */

#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <string.h>

/* Bytes between those that are hashed and those that are fetched, bytes that are hashed at a time, and in a line.
 *
 *      | hashed ...  |<- STEP ->|<-------- AHEAD -------->| fetched next: STEP bytes |
 */
enum { AHEAD = 4096, STEP = 1024, LINE = 64 };

/* EVP_MAX_MD_SIZE of openssl/evp.h. */
enum { LONGEST_DIGEST = 64 };

static const char *const CAPSULE = "manifest_service.digests.native";

/* In the order in which openssl.py names them. */
struct evp {
    const void *(*by_name)(const char *name);
    void *(*create)(void);
    void (*free)(void *context);
    int (*init)(void *context, const void *type, void *engine);
    int (*update)(void *context, const void *data, size_t size);
    int (*final)(void *context, unsigned char *digest, unsigned *size);
};

/* busy: a thread works on it without the interpreter's lock. ended: its digest was taken. */
struct hash {
    struct evp evp;
    const void *type;
    void *context;
    bool busy, ended;
};

/* Take in `size` bytes from `start` on; what is fetched ahead may lie behind them, up to `limit`. */
static bool take_in(struct hash *hash, const char *start, size_t size, const char *limit)
{
    const char *end = start + size;
    const char *fetched = start;
    while (start < end) {
        size_t step = end - start < STEP ? (size_t)(end - start) : STEP;
        size_t wanted = (size_t)(limit - start) < step + AHEAD ? (size_t)(limit - start) : step + AHEAD;
        for (; fetched < start + wanted; fetched += LINE)
            __builtin_prefetch(fetched, 0, 2);
        if (!hash->evp.update(hash->context, start, step))
            return false;
        start += step;
    }
    return true;
}

static void free_hash(PyObject *capsule)
{
    struct hash *hash = PyCapsule_GetPointer(capsule, CAPSULE);
    if (!hash)
        return;
    if (hash->context)
        hash->evp.free(hash->context);
    PyMem_Free(hash);
}

static PyObject *new_hash(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer functions;
    const char *name;
    if (!PyArg_ParseTuple(args, "y*s", &functions, &name))
        return NULL;
    struct hash *hash = PyMem_Calloc(1, sizeof *hash);
    bool fits = functions.len == (Py_ssize_t)sizeof hash->evp;
    if (hash && fits)
        memcpy(&hash->evp, functions.buf, sizeof hash->evp);
    PyBuffer_Release(&functions);
    if (!hash)
        return PyErr_NoMemory();
    PyObject *capsule = PyCapsule_New(hash, CAPSULE, free_hash);
    if (!capsule) {
        PyMem_Free(hash);
        return NULL;
    }
    if (fits && (hash->type = hash->evp.by_name(name)) && (hash->context = hash->evp.create())
        && hash->evp.init(hash->context, hash->type, NULL))
        return capsule;
    Py_DECREF(capsule);
    return PyErr_Format(PyExc_ValueError, "OpenSSL has no hash %.40s", name);
}

/* The hash of a capsule, if it can be worked on. Sets an exception where it cannot. */
static struct hash *usable(PyObject *capsule)
{
    struct hash *hash = PyCapsule_GetPointer(capsule, CAPSULE);
    if (hash && (hash->busy || hash->ended)) {
        PyErr_SetString(PyExc_RuntimeError, hash->busy ? "another thread uses this hash" : "this hash has ended");
        return NULL;
    }
    return hash;
}

static PyObject *update(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *capsule;
    Py_buffer data;
    if (!PyArg_ParseTuple(args, "Oy*", &capsule, &data))
        return NULL;
    struct hash *hash = usable(capsule);
    bool done = false;
    if (hash) {
        hash->busy = true;
        Py_BEGIN_ALLOW_THREADS
        done = take_in(hash, data.buf, (size_t)data.len, (const char *)data.buf + data.len);
        Py_END_ALLOW_THREADS
        hash->busy = false;
        if (!done)
            PyErr_SetString(PyExc_RuntimeError, "OpenSSL took in no more bytes");
    }
    PyBuffer_Release(&data);
    if (!done)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *digest(PyObject *Py_UNUSED(module), PyObject *capsule)
{
    struct hash *hash = usable(capsule);
    if (!hash)
        return NULL;
    unsigned char result[LONGEST_DIGEST];
    unsigned size = 0;
    hash->ended = true;
    if (!hash->evp.final(hash->context, result, &size)) {
        PyErr_SetString(PyExc_RuntimeError, "OpenSSL gave no digest");
        return NULL;
    }
    return PyBytes_FromStringAndSize((const char *)result, size);
}

/* The digests of all blocks of `data`, of which each has `block` bytes; false if OpenSSL fails. */
static bool digest_all(struct hash *hash, const Py_buffer *data, size_t block, unsigned char *results, unsigned size)
{
    const char *start = data->buf, *limit = start + data->len;
    for (; start < limit; start += block, results += size) {
        unsigned written = 0;
        unsigned char result[LONGEST_DIGEST];
        if (!hash->evp.init(hash->context, NULL, NULL) || !take_in(hash, start, block, limit)
            || !hash->evp.final(hash->context, result, &written) || written != size)
            return false;
        memcpy(results, result, size);
    }
    return true;
}

static PyObject *digest_blocks(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *capsule, *results = NULL;
    Py_buffer data;
    Py_ssize_t block;
    unsigned char size;
    if (!PyArg_ParseTuple(args, "Oy*nb", &capsule, &data, &block, &size))
        return NULL;
    struct hash *hash = usable(capsule);
    if (hash && (block <= 0 || data.len % block || size > LONGEST_DIGEST))
        PyErr_SetString(PyExc_ValueError, "these are no whole blocks, or no digest is as long");
    else if (hash && (results = PyBytes_FromStringAndSize(NULL, data.len / block * size))) {
        bool done;
        unsigned char *room = (unsigned char *)PyBytes_AsString(results);
        hash->busy = true;
        Py_BEGIN_ALLOW_THREADS
        done = digest_all(hash, &data, (size_t)block, room, size);
        Py_END_ALLOW_THREADS
        hash->busy = false;
        if (!done) {
            Py_CLEAR(results);
            PyErr_SetString(PyExc_RuntimeError, "OpenSSL gave no digest");
        }
    }
    PyBuffer_Release(&data);
    return results;
}

static PyMethodDef METHODS[] = {
    {"new_hash", new_hash, METH_VARARGS, NULL},
    {"update", update, METH_VARARGS, NULL},
    {"digest", digest, METH_O, NULL},
    {"digest_blocks", digest_blocks, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef_Slot SLOTS[] = {{0, NULL}};

static struct PyModuleDef MODULE = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "native",
    .m_methods = METHODS,
    .m_slots = SLOTS,
};

PyMODINIT_FUNC PyInit_native(void)
{
    return PyModuleDef_Init(&MODULE);
}
