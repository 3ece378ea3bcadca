"""Two contract types of our own for import-linter: one importer for a library, and private modules."""

from importlinter import Contract, ContractCheck, fields, output


class OnlyImporter(Contract):
    """`library` may be imported only inside `allowed`."""

    library = fields.StringField()
    allowed = fields.ListField(subfield=fields.StringField())

    def check(self, graph, verbose):
        allowed = tuple(self.allowed)
        importers = graph.find_modules_that_directly_import(self.library)
        bad = sorted(m for m in importers if not m.startswith(allowed))
        return ContractCheck(kept=not bad, metadata={"bad": bad})

    def render_broken_contract(self, check):
        for module in check.metadata["bad"]:
            output.print_error(f"{module} imports {self.library}; only {', '.join(self.allowed)} may")


class PrivateModules(Contract):
    """Modules of these names are imported only inside their own package, or by `readers`."""

    names = fields.ListField(subfield=fields.StringField())
    readers = fields.ListField(subfield=fields.StringField())

    def check(self, graph, verbose):
        readers = tuple(self.readers)
        bad = []
        for module in sorted(m for m in graph.modules if m.rpartition(".")[2] in set(self.names)):
            package = module.rpartition(".")[0]
            for importer in sorted(graph.find_modules_that_directly_import(module)):
                if not importer.startswith((package + ".", *readers)) and importer != package:
                    bad.append((importer, module))
        return ContractCheck(kept=not bad, metadata={"bad": bad})

    def render_broken_contract(self, check):
        for importer, module in check.metadata["bad"]:
            output.print_error(f"{importer} imports {module}, which is private to its package")
