-- SPDX-License-Identifier: MIT
--
-- require "forksafe.recipes.confluent_kafka": every Producer that was made before the fork is replaced by one of the worker's own,
-- with the same configuration, wherever a variable, an attribute, a list or a closure holds it: librdkafka's threads are not there
-- in a worker, and nothing that the old one takes is ever sent. The configuration is read out of librdkafka. One that has Python
-- callbacks cannot be made again from outside: that is an error, and its application has to make it after the fork.
local recipe = require "forksafe.recipe"

local SOURCE = [[
import ctypes

# What librdkafka or its binding sets by itself: pointers, and names of theirs.
RECIPE_KAFKA_OWN = ("client.software.name", "client.software.version", "enabled_events", "opaque", "default_topic_conf",
                    "sticky.partitioning.linger.ms")


def recipe_kafka_dump(library, conf):
    count = ctypes.c_size_t()
    library.rd_kafka_conf_dump.restype = ctypes.POINTER(ctypes.c_char_p)
    library.rd_kafka_conf_dump.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t)]
    entries = library.rd_kafka_conf_dump(conf, count)
    pairs = {entries[i].decode(): entries[i + 1].decode() for i in range(0, count.value, 2)}
    library.rd_kafka_conf_dump_free.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_size_t]
    library.rd_kafka_conf_dump_free(entries, count)
    return pairs


def recipe_kafka_configuration(library, producer):
    """What was set, and is not librdkafka's default."""
    library.rd_kafka_conf.restype = library.rd_kafka_conf_new.restype = ctypes.c_void_p
    library.rd_kafka_conf.argtypes = library.rd_kafka_conf_destroy.argtypes = [ctypes.c_void_p]
    handle = ctypes.c_void_p.from_address(id(producer) + object.__basicsize__).value  # the first field of the object
    default = library.rd_kafka_conf_new()
    before = recipe_kafka_dump(library, default)
    library.rd_kafka_conf_destroy(default)
    now = recipe_kafka_dump(library, library.rd_kafka_conf(handle))
    return {name: value for name, value in now.items()
            if before.get(name) != value and name not in RECIPE_KAFKA_OWN and not name.endswith("_cb")}


def recipe_replace_name(names, name, new):
    kinds = [kind for kind in gc.get_referrers(names) if isinstance(kind, type)]
    if isinstance(names, dict) and not kinds:
        names[name] = new
    for kind in kinds:  # an attribute of a class has to be set as one
        setattr(kind, name, new)


def recipe_replace(old, new):
    """Puts `new` wherever something refers to `old`. No comprehension here: its cell would refer to `old` as well."""
    for holder in gc.get_referrers(old):
        names = holder if isinstance(holder, dict) else getattr(holder, "__dict__", None) or {}
        for name, value in list(names.items()):
            if value is old:
                recipe_replace_name(names, name, new)
        if isinstance(holder, list) and holder is not recipe_kept:
            for index, value in enumerate(holder):
                if value is old:
                    holder[index] = new
        if type(holder).__name__ == "cell":
            holder.cell_contents = new


def repair_confluent_kafka():
    module = sys.modules.get("confluent_kafka.cimpl") or sys.modules.get("cimpl")
    if module is None:
        return None
    library = ctypes.CDLL("librdkafka.so.1", mode=os.RTLD_NOW | os.RTLD_NOLOAD)
    kept = {id(one) for one in recipe_kept}
    producers = [one for one in gc.get_objects() if isinstance(one, module.Producer) and id(one) not in kept]
    recipe_kept.extend(producers)  # the end of one would wait for its threads
    for old in list(producers):
        if any(callable(part) and not isinstance(part, type) for part in gc.get_referents(old)):
            raise RuntimeError("a Producer with callbacks cannot be made again from outside: make it after the fork")
        new = type(old).__new__(type(old))
        module.Producer.__init__(new, recipe_kafka_configuration(library, old))
        getattr(new, "__dict__", {}).update(getattr(old, "__dict__", {}))
        recipe_replace(old, new)
    return len(producers)
]]

return recipe.subscribe {
  name = "confluent_kafka",
  what = "producers made again",
  repair = function()
    return recipe.python(SOURCE, "repair_confluent_kafka()")
  end,
}
